"""What a finished pass leaves behind, so that more can be read from it without running it again.

Rows are taken through the tail in the groups in which the pass itself took them: the same
computation, so the same numbers, and no more rows' logits at once than it had.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from msgspec import structs
from torch import Tensor, nn

from engine.anatomy.hooks import evaluating
from engine.anatomy.tail import RowStream
from engine.errors import BadInput, Cancelled
from engine.lens.as_records import Why, top_tokens, tracked_tokens
from engine.lens.readout import read
from engine.passes.forward import Project
from engine.prompts.token_texts import TextOf
from engine.records import LayerReading, Tracked

MOST_TOKENS = 1000
"""A row is never given with more of its top tokens than this."""


def _never() -> bool:
    return False


@dataclass(frozen=True)
class KeptStream:
    """The residual stream of one pass at the position that was read, in main memory."""

    model: nn.Module
    lock: threading.Lock
    """Keeps passes of the model apart."""
    readings: tuple[LayerReading, ...]
    streams: Mapping[int, RowStream]
    """What rows 0..L are read from; row L, what enters the tail, is read from `model_logits`."""
    groups: tuple[tuple[int, ...], ...]
    """Rows 0..L-1 in order, as the pass took them through the tail together."""
    model_logits: Tensor
    """The model's own logits, those of row L: [1, vocabulary]."""
    device: torch.device
    """Where the pass had the model's own logits."""
    project: Project
    text_of: TextOf
    replays: bool
    """Reading runs the model again; `project` then holds the pass's inputs and a whole stream."""

    def track(self, ids: Sequence[int], stop: Callable[[], bool] = _never) -> tuple[Tracked, ...]:
        """These tokens through all rows.

        Raises BadInput for an id that is not in the vocabulary, Cancelled once `stop()`.
        """
        vocabulary = self.model_logits.shape[-1]
        for token in ids:
            if not 0 <= token < vocabulary:
                raise BadInput(f"there is no token {token}: ids go from 0 to {vocabulary - 1}")
        why: dict[int, Why] = dict.fromkeys(ids, "user")
        if not why:
            return ()
        parts = [
            read(self._logits(group, stop), followed=list(why)).numbers()
            for group in (*self.groups, (self._last,))
        ]
        return tracked_tokens(why, parts, self.text_of)

    def deepen(self, row: int, count: int, stop: Callable[[], bool] = _never) -> LayerReading:
        """The reading of one row with its `count` top tokens.

        Raises BadInput for a row that there is not, Cancelled once `stop()`.
        """
        if not 0 <= row <= self._last:
            raise BadInput(f"there is no row {row}: this run's rows go from 0 to {self._last}")
        group = next((group for group in self.groups if row in group), (row,))
        place = group.index(row)
        logits = self._logits(group, stop)[place : place + 1]
        count = min(max(count, 1), MOST_TOKENS)
        (top,) = top_tokens(read(logits, count).numbers(), self.text_of)
        return structs.replace(self.readings[row], top=top)

    @property
    def _last(self) -> int:
        return len(self.readings) - 1

    def _logits(self, rows: tuple[int, ...], stop: Callable[[], bool]) -> Tensor:
        if stop():
            raise Cancelled("cancelled")
        if rows == (self._last,):
            return self.model_logits.to(self.device)
        with self.lock, evaluating(self.model):
            logits = self.project([self.streams[row] for row in rows])
        return logits.to(self.device)


def in_main_memory(read: RowStream) -> RowStream:
    """What a row is read from, less what only its note needs, off the device."""
    return RowStream(read.stream.cpu(), tuple(each.cpu() for each in read.companions))
