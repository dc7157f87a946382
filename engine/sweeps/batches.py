"""Running batches one after another, in halves where one fails."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NamedTuple

from engine.asking.asking import explain
from engine.errors import CannotRead
from engine.lens.batched import BatchNumbers
from engine.records import Made
from engine.sweeps.items import Item, came_from_the_model
from engine.sweeps.lines import Lines
from engine.sweeps.progress import Progress
from engine.sweeps.reading import BatchReader
from engine.sweeps.sizing import BatchSize
from engine.system.memory import give_memory_back, is_out_of_memory


class _Queued(NamedTuple):
    """A batch that was given to the device."""

    batch: Sequence[Item]
    numbers: BatchNumbers
    began: float
    unread: str
    """Why its attention is not read, if it was wanted."""
    made: Made


class _Trouble(NamedTuple):
    """Why a batch could not be given to the device."""

    reason: str
    out_of_memory: bool


class Batches:
    """Keeps one batch queued on the device, and stores the numbers of the one before meanwhile."""

    def __init__(
        self, reader: BatchReader, size: BatchSize, lines: Lines, progress: Progress
    ) -> None:
        self._reader = reader
        self._size = size
        self._lines = lines
        self._progress = progress
        self._queued: _Queued | None = None
        self._finished = 0.0
        """When the last batch ended, in seconds of `time.perf_counter`."""

    def run(
        self,
        batch: Sequence[Item],
        shares_pixels: bool,
        begun: int = 0,
        whole: str | None = None,
    ) -> None:
        """Give a batch to the device; then store what the last one gave, while it works. One that
        fails is run in halves; an item that fails alone, and as a whole, is a failure.

        The vision pass is kept where it `shares_pixels` with the next batch; the batch goes on from
        the first `begun` tokens, its halves do not; `whole` says why it does not go on, if that is
        known before. Raises CannotRead where the device failed, and CannotWrite.
        """
        trouble = self._queue(batch, shares_pixels, begun, whole)
        if trouble is None:
            return
        self.finish()
        self._reader.forget_pictures()
        give_memory_back()
        if begun:
            whole = trouble.reason
        if len(batch) == 1 and begun:
            self.run(batch, shares_pixels=False, whole=whole)
            return
        if len(batch) == 1:
            self._lines.fail(batch[0].picture, batch[0].task.task, trouble.reason)
            return
        if trouble.out_of_memory:
            self._size.ran_out(len(batch))
        middle = len(batch) // 2
        for half in (batch[:middle], batch[middle:]):
            self.run(half, shares_pixels=False, whole=whole)

    def finish(self) -> None:
        """Store what the queued batch gives, if there is one. Raises CannotRead where the device
        failed, and CannotWrite."""
        if self._queued is None:
            return
        (batch, numbers, began, unread, made), self._queued = self._queued, None
        try:
            found = numbers.items()
        except RuntimeError as error:
            failed = explain(error)
            raise CannotRead(f"the device has failed: {failed}", *failed.remedies) from error
        now = time.perf_counter()
        # Batches overlap: a batch's time begins when it has the device to itself.
        seconds = (now - max(began, self._finished)) / len(batch)
        self._finished = now
        self._lines.keep(batch, found, seconds, unread, made)

    def _queue(
        self, batch: Sequence[Item], shares_pixels: bool, begun: int, whole: str | None
    ) -> _Trouble | None:
        began = time.perf_counter()
        try:
            numbers, unread, made = self._reader.read(batch, shares_pixels, begun, whole)
        except Exception as error:
            if not came_from_the_model(error):
                raise
            reason = str(error) if isinstance(error, CannotRead) else str(explain(error))
            trouble = _Trouble(reason, is_out_of_memory(error))
            error.__traceback__ = None  # it holds the tensors of the failed pass
            return trouble
        self._size.went_well(len(batch), time.perf_counter() - began)
        self._progress.batch_size = self._size.now
        self.finish()
        self._queued = _Queued(batch, numbers, began, unread, made)
        # With passes of its own, storing a batch gains nothing from one that is queued beside it.
        if numbers.are_ready or self._lines.take_passes:
            self.finish()
        return None
