"""Two runs row by row as a table, for copying and exporting."""

from __future__ import annotations

from engine.tables import Candidate, Cell, Column, Table
from tui.state.comparing import AlignedRow, AlignedRuns


def pair_table(compared: AlignedRuns, names: tuple[str, str]) -> Table:
    """Return a line for every row of the deeper run: both best tokens, and of both answers the
    probabilities and the difference, right less left, in percentage points."""
    columns = [
        Column("left_row", "count"),
        Column("left", "candidate"),
        Column("right_row", "count"),
        Column("right", "candidate"),
        Column("same_top_1", "text"),
    ]
    for index, answer in enumerate(compared.answers, 1):
        columns += [
            Column(f"p_left_{index}", "share", answer.text, is_of_a_token=True),
            Column(f"p_right_{index}", "share", answer.text, is_of_a_token=True),
            Column(f"points_{index}", "number", "points", decimals=2),
        ]
    rows = tuple(tuple(_cells(row)) for row in compared.rows)
    notes = (f"left: {names[0]}", f"right: {names[1]}")
    return Table("two runs", tuple(columns), rows, notes)


def _cells(row: AlignedRow) -> list[Cell]:
    best = [
        Candidate(side.top[0].text, side.top[0].probability) if side and side.top else None
        for side in (row.left, row.right)
    ]
    same = "" if row.same is None else "yes" if row.same else "no"
    cells: list[Cell] = [row.left_layer, best[0], row.right_layer, best[1], same]
    for change in row.changes:
        difference = change.difference
        points = None if difference is None else 100 * difference
        cells += [change.left, change.right, points]
    return cells
