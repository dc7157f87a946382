"""Two runs row by row as a table, for copying and exporting."""

from __future__ import annotations

from collections.abc import Sequence

from engine.tables import Candidate, Cell, Column, Table
from tui.state.columns import FIGURE_COLUMNS
from tui.state.comparing import AlignedRow, AlignedRuns
from tui.state.pair_figures import both_figures, figure_names, has_difference


def pair_table(
    compared: AlignedRuns,
    names: tuple[str, str],
    figures: Sequence[str] = (),
    *,
    answer_name: str = "answer",
) -> Table:
    """Return a line for every row of the deeper run: both best tokens; of both answers and of what
    is tracked the probabilities and the difference, right less left, in percentage points; and the
    optional columns that are named, of both sides. `answer_name` is what the answer is called at
    the position of the rows."""
    columns = [
        Column("left_row", "count"),
        Column("left", "candidate"),
        Column("right_row", "count"),
        Column("right", "candidate"),
        Column("same_top_1", "text"),
    ]
    for index, token in enumerate(compared.tokens, 1):
        columns += [
            Column(f"p_left_{index}", "share", token.text, is_of_a_token=True),
            Column(f"p_right_{index}", "share", token.text, is_of_a_token=True),
            Column(f"points_{index}", "number", "points", decimals=2),
        ]
    chosen = figure_names(figures)
    for name in chosen:
        known = FIGURE_COLUMNS[name].column
        head = answer_name if name == "answer" else known.head
        columns += [
            Column(f"{side}_{known.name}", known.kind, f"{side} {head}")
            for side in ("left", "right")
        ]
        if has_difference(name, compared) and known.kind == "place":
            columns.append(Column(f"{known.name}_points", "number", "points", decimals=2))
        elif has_difference(name, compared):
            columns.append(Column(f"{known.name}_difference", "number"))
    rows = tuple(tuple(_cells(row, compared, chosen)) for row in compared.rows)
    notes = (f"left: {names[0]}", f"right: {names[1]}")
    return Table("two runs", tuple(columns), rows, notes)


def _cells(row: AlignedRow, compared: AlignedRuns, figures: Sequence[str]) -> list[Cell]:
    best = [
        Candidate(side.top[0].text, side.top[0].probability) if side and side.top else None
        for side in (row.left, row.right)
    ]
    same = "" if row.same is None else "yes" if row.same else "no"
    cells: list[Cell] = [row.left_layer, best[0], row.right_layer, best[1], same]
    for change in row.changes:
        cells += [change.left, change.right, _points(change.difference)]
    for name in figures:
        both = both_figures(name, row, compared)
        cells += [both.left, both.right]
        if has_difference(name, compared):
            is_place = FIGURE_COLUMNS[name].column.kind == "place"
            cells.append(_points(both.difference) if is_place else both.difference)
    return cells


def _points(difference: float | None) -> float | None:
    return None if difference is None else 100 * difference
