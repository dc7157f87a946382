"""Which rows of a run are shown where rows that say the same are folded into one."""

from __future__ import annotations

from collections.abc import Iterable

from engine.records import LayerReading


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
