"""The first row from which something holds to the end: the formation row of an answer, the row from
which a picture counts, or from which two runs differ for good."""

from __future__ import annotations

from collections.abc import Sequence

from engine.records import LayerReading


def first_that_stays(holds: Sequence[bool]) -> int | None:
    """The first index from which everything holds to the end, None where the last does not."""
    first = len(holds)
    while first and holds[first - 1]:
        first -= 1
    return first if first < len(holds) else None


def formation_row(rows: Sequence[LayerReading]) -> int | None:
    """The first of a run's `rows`, which must be all of them, from which the answer (top-1 of the
    last) stays top-1; None where the last row has no tokens."""
    leaders = [row.top[0].id if row.top else None for row in rows]
    answer = leaders[-1] if leaders else None
    return None if answer is None else first_that_stays([each == answer for each in leaders])
