"""A run as tables: its rows as on the screen, or one line per token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from engine.records import LayerReading, Run, Tracked
from engine.tables import Candidate, Cell, Column, Table
from tui.state.columns import FIGURE_COLUMNS, in_order, place_in
from tui.state.run_view import NEXT_HERE
from tui.text.numbers import ordinal

TOKEN_COLUMNS: Final = (
    Column("layer", "count"),
    Column("rank", "count"),
    Column("id", "count"),
    Column("token", "token"),
    Column("probability", "share"),
    Column("logit", "number"),
    Column("entropy", "number"),
    Column("rms", "number"),
    Column("kl_to_last", "number"),
    Column("answer_probability", "share"),
    Column("answer_rank", "count"),
)
"""The columns of a table with one line per token."""


def rows_table(
    run: Run,
    rows: Sequence[LayerReading],
    top_k: int,
    figures: Sequence[str],
    position: int | None = None,
) -> Table:
    """Return the rows with `top_k` tokens each and the optional columns; columns without a value
    in this run are left out. `position` is that of the rows if it is not the run's own."""
    tracked = tracked_last(run)
    chosen = [name for name in in_order(figures) if name != "tracked" or tracked is not None]
    columns = [Column("layer", "count")]
    columns += [Column(f"token_{rank}", "candidate", ordinal(rank)) for rank in range(1, top_k + 1)]
    for name in chosen:
        column = FIGURE_COLUMNS[name].column
        if name == "tracked" and tracked is not None:
            column = replace(column, title=tracked.text, is_of_a_token=True)
        elif name == "answer" and position is not None:
            column = replace(column, title=NEXT_HERE)
        columns.append(column)
    table = Table(
        "",
        tuple(columns),
        tuple(
            (row.layer, *candidates(row, top_k), *_figures(row, chosen, tracked)) for row in rows
        ),
    )
    return _placed(table, position)


def _placed(table: Table, position: int | None) -> Table:
    """Return a table with the position of its rows in front of each; unchanged for None."""
    if position is None:
        return table
    columns = (Column("position", "count"), *table.columns)
    return replace(table, columns=columns, rows=tuple((position, *row) for row in table.rows))


def tokens_table(
    rows: Sequence[LayerReading], top_k: int | None, position: int | None = None
) -> Table:
    """Return one line per row and token, with every figure of the row; `position` is that of the
    rows if it is not the run's own."""
    lines: list[tuple[Cell, ...]] = []
    for row in rows:
        answer = row.answer
        after = (
            row.entropy,
            row.rms,
            row.kl_to_last,
            None if answer is None else answer.probability,
            None if answer is None else answer.rank,
        )
        lines += [
            (row.layer, rank, token.id, token.text, token.probability, token.logit, *after)
            for rank, token in enumerate(row.top[:top_k], 1)
        ]
    return _placed(Table("", TOKEN_COLUMNS, tuple(lines)), position)


def candidates(row: LayerReading, top_k: int) -> tuple[Candidate | None, ...]:
    """Return the first `top_k` tokens of a row, padded with None where it holds fewer."""
    found: list[Candidate | None] = [
        Candidate(token.text, token.probability) for token in row.top[:top_k]
    ]
    return (*found, *[None] * (top_k - len(found)))


def tracked_last(run: Run) -> Tracked | None:
    """Return the token that the user tracked last, or None."""
    return next((token for token in reversed(run.tracked) if token.why == "user"), None)


def _figures(row: LayerReading, names: Sequence[str], tracked: Tracked | None) -> tuple[Cell, ...]:
    place = place_in(tracked, row.layer)
    return tuple(FIGURE_COLUMNS[name].value(row, place) for name in names)
