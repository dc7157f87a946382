"""Which rows of a run are shown where rows that say the same are folded into one."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from enum import Enum

from engine.records import LayerReading
from tui.state.comparing import AlignedRuns
from tui.state.run_view import RunView
from tui.text.numbers import ordinal


class Fold(Enum):
    """Which rows are folded into the one before."""

    NONE = "none"
    EQUAL = "equal"
    """Those whose shown tokens are those of the row before, in the same order."""
    LEADER = "leader"
    """Those whose top-1 is that of the row before."""

    def next(self, top_k: int) -> Fold:
        """Return the next one, in a circle. With one token shown, rows that are equal are those
        whose top-1 stays, so that there are only two."""
        circle = [Fold.NONE, Fold.EQUAL, Fold.LEADER] if top_k > 1 else [Fold.NONE, Fold.LEADER]
        return circle[(circle.index(self) + 1) % len(circle)] if self in circle else Fold.NONE

    def tokens(self, top_k: int) -> int:
        """Return how many of a row's tokens, from the first, make it another row."""
        return top_k if self is Fold.EQUAL else 1

    def words(self, top_k: int) -> str:
        """Return where a row is shown, for the caption of the table."""
        if self is Fold.EQUAL and top_k > 1:
            return f"where 1st to {ordinal(top_k)} change"
        return "where top-1 changes"


def shown_rows(
    readings: Iterable[LayerReading],
    layers: int,
    formation: int | None,
    keep: Iterable[int] = (),
    *,
    tokens: int = 1,
) -> tuple[int, ...]:
    """Return the rows that are shown, from the top: those whose first `tokens` differ from those of
    the row before, the formation row, the last row, those that have not been read, and those of
    `keep`."""
    said = {row.layer: tuple(top.id for top in row.top[:tokens]) for row in readings if row.top}
    kept = {0, layers, *keep}
    if formation is not None:
        kept.add(formation)
    return tuple(
        row
        for row in range(layers + 1)
        if row in kept or row not in said or said[row] != said.get(row - 1)
    )


def shown_pairs(
    sides: tuple[RunView, RunView],
    compared: AlignedRuns,
    keep: Iterable[int] = (),
    *,
    tokens: int = 1,
) -> tuple[int, ...]:
    """Return which rows of a comparison are shown: those that either run alone would show, where
    the runs begin to differ, and those of `keep`."""
    ours, theirs = (
        set(shown_rows(run.rows, run.run.layers, run.formation, tokens=tokens))
        if run.rows
        else set()
        for run in sides
    )
    rows = compared.rows
    kept = {0, len(rows) - 1, *keep, *({compared.parts, compared.parts_for_good} - {None})}
    for at, (before, row) in enumerate(itertools.pairwise(rows), 1):
        is_new = (row.left_layer != before.left_layer, row.right_layer != before.right_layer)
        if (is_new[0] and row.left_layer in ours) or (is_new[1] and row.right_layer in theirs):
            kept.add(at)
        if row.same != before.same:
            kept.add(at)
    return tuple(at for at in range(len(rows)) if at in kept)


def last_folded(shown: Iterable[int] | None) -> dict[int, int]:
    """Return, of every row into which others are folded, the last of these."""
    pairs = itertools.pairwise(shown or ())
    return {row: after - 1 for row, after in pairs if after - 1 > row}
