"""The rows of a run as cells and tables, one line per token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from engine.records import LayerReading
from engine.tables import Candidate, Cell, Column, Table

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
    return placed(Table("", TOKEN_COLUMNS, tuple(lines)), position)


def placed(table: Table, position: int | None) -> Table:
    """Return a table with the position of its rows in front of each; unchanged for None."""
    if position is None:
        return table
    columns = (Column("position", "count"), *table.columns)
    return replace(table, columns=columns, rows=tuple((position, *row) for row in table.rows))


def candidates(row: LayerReading, top_k: int) -> tuple[Candidate | None, ...]:
    """Return the first `top_k` tokens of a row, padded with None where it holds fewer."""
    found: list[Candidate | None] = [
        Candidate(token.text, token.probability) for token in row.top[:top_k]
    ]
    return (*found, *[None] * (top_k - len(found)))
