"""How many items go into one pass: as many as fit in memory, found out during the sweep."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from engine.passes.collating import most_at_once
from engine.sweeps.items import came_from_the_model

if TYPE_CHECKING:
    from engine.lens.lens import Lens

START = 16
START_ON_CPU = 4
MOST = 64
"""More items at once gain nothing that is worth their memory."""
MOST_ON_CPU = 16
"""Larger batches gain nothing on a CPU."""
LONG = 10.0
"""Seconds of a pass above which batches grow no further: whoever waits wants to see progress, and
the batch that is running is lost when the sweep is killed."""
GOOD_FOR_GROWTH = 16
"""Passes that must succeed before a size at which memory ran out is tried again."""


class BatchSize:
    """The size of the next batch. Doubles while passes succeed, halves where memory runs out."""

    def __init__(self, fixed: int | None = None, most: int = MOST, start: int = START) -> None:
        """`fixed` is the user's size: it is never exceeded, but halved where memory runs out."""
        self._fixed = fixed
        self._measured = False
        self._begin(most, start)

    def _begin(self, most: int, start: int) -> None:
        fixed = self._fixed
        self.limit = fixed if fixed is not None else max(1, min(most, MOST))
        self._ceiling = self.limit
        self._good = 0
        self.now = fixed if fixed is not None else min(start, self.limit)

    def measure(self, lens: Lens, inputs: dict[str, Any]) -> None:
        """Estimate how much fits in memory, from the first inputs (a batch of one) that the model
        takes; of a fixed size, and after the first time, nothing changes."""
        if self._measured:
            return
        try:
            keeps_logits = lens.supports_logits_to_keep(inputs)
        except Exception as error:
            if not came_from_the_model(error):
                raise
            return  # the item's own pass will report it
        self._measured = True
        if self._fixed is not None:
            return
        device = lens.device
        most = most_at_once(lens.model, inputs, device, all_logits=not keeps_logits)
        if device.type == "cpu":
            self._begin(min(most, MOST_ON_CPU), START_ON_CPU)
        else:
            self._begin(most, START)

    def went_well(self, items: int, seconds: float) -> None:
        """A pass over `items` items has ended, or was queued on the device, after `seconds`."""
        self._good += 1
        if self._good >= GOOD_FOR_GROWTH and self._ceiling < self.limit:
            self._ceiling = min(self.limit, 2 * self._ceiling)
            self._good = 0
        if items >= self.now and seconds < LONG:
            self.now = min(self._ceiling, 2 * self.now)

    def ran_out(self, items: int) -> None:
        """Memory ran out in a pass over `items` items."""
        self._ceiling = self.now = max(1, min(self.now, items // 2))
        self._good = 0
