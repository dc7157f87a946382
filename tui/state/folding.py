"""Which rows of a run are shown where rows that say the same are folded into one."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

from engine.records import LayerReading
from tui.state.comparing import AlignedRuns
from tui.state.run_view import RunView


def shown_rows(
    readings: Iterable[LayerReading], layers: int, formation: int | None, keep: Iterable[int] = ()
) -> tuple[int, ...]:
    """Return the rows that are shown, from the top: those whose top-1 differs from that of the row
    before, the formation row, the last row, those that have not been read, and those of `keep`."""
    leaders = {row.layer: row.top[0].id for row in readings if row.top}
    kept = {0, layers, *keep}
    if formation is not None:
        kept.add(formation)
    return tuple(
        row
        for row in range(layers + 1)
        if row in kept or row not in leaders or leaders[row] != leaders.get(row - 1)
    )


def shown_pairs(
    sides: tuple[RunView, RunView], compared: AlignedRuns, keep: Iterable[int] = ()
) -> tuple[int, ...]:
    """Return which rows of a comparison are shown: those that either run alone would show, where
    the runs begin to differ, and those of `keep`."""
    ours, theirs = (
        set(shown_rows(run.rows, run.run.layers, run.formation)) if run.rows else set()
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
