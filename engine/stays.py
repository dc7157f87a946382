"""The first row from which something holds to the end: the formation row of an answer, the row from
which a picture counts as seen, the row from which two runs differ for good."""

from __future__ import annotations

from collections.abc import Sequence

from engine.records import LayerReading


def first_that_stays(holds: Sequence[bool]) -> int | None:
    """The first index from which all of `holds` are true; None if the last one is false."""
    first = len(holds)
    while first and holds[first - 1]:
        first -= 1
    return first if first < len(holds) else None


def formation_row(rows: Sequence[LayerReading]) -> int | None:
    """The first row from which the answer (top-1 of the last row) stays top-1.

    `rows` must be all rows of a run. None if the last row has no tokens.
    """
    leaders = [row.top[0].id if row.top else None for row in rows]
    answer = leaders[-1] if leaders else None
    return None if answer is None else first_that_stays([each == answer for each in leaders])
