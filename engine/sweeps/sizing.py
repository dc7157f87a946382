"""How many items go into one pass: as many as memory holds, found out as it goes."""

from __future__ import annotations

START = 16
START_ON_CPU = 4
MOST = 64
"""More items at once gain nothing that is worth their memory."""
LONG = 10.0
"""Seconds of a pass after which it grows no further: whoever waits wants to see that it goes on,
and what is under way is lost when the sweep is killed."""
GOOD_FOR_GROWTH = 16
"""Passes that must go well before a size is tried again at which memory ran out."""


class BatchSize:
    """The size of the next batch. Grows by doubling, halves where memory runs out."""

    def __init__(self, fixed: int | None = None, most: int = MOST, start: int = START) -> None:
        """`fixed` is the user's: never more, but less where memory runs out."""
        self.limit = fixed if fixed is not None else max(1, min(most, MOST))
        self._ceiling = self.limit
        self._good = 0
        self.now = fixed if fixed is not None else min(start, self.limit)

    def went_well(self, items: int, seconds: float) -> None:
        """A pass over so many items is over, or has been given to the device; so long it took."""
        self._good += 1
        if self._good >= GOOD_FOR_GROWTH and self._ceiling < self.limit:
            self._ceiling = min(self.limit, 2 * self._ceiling)
            self._good = 0
        if items >= self.now and seconds < LONG:
            self.now = min(self._ceiling, 2 * self.now)

    def ran_out(self, items: int) -> None:
        """Memory ran out over so many items."""
        self._ceiling = self.now = max(1, min(self.now, items // 2))
        self._good = 0
