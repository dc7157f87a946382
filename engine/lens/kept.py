"""The kept stream: what is kept of a finished pass, so that more can be read from it later.

Rows go through the tail in the same groups as in the pass. The computation is then the same, so
the numbers are too, and it needs no more memory than the pass did.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from msgspec import structs
from torch import Tensor, nn

from engine.anatomy.tail import RowStream
from engine.errors import BadInput, Cancelled
from engine.lens.as_records import Why, top_tokens, tracked_tokens
from engine.lens.readout import read
from engine.passes.forward import Project
from engine.passes.inference import inferring
from engine.prompts.token_texts import TextOf
from engine.records import LayerReading, Tracked
from engine.system.transfers import sent


def _never() -> bool:
    return False


@dataclass(frozen=True)
class KeptStream:
    """The residual stream of one pass at the position that was read, in main memory."""

    model: nn.Module
    lock: threading.Lock
    """The lock that lets only one pass of the model run at a time."""
    readings: tuple[LayerReading, ...]
    """Rows 0..L."""
    streams: Mapping[int, RowStream]
    """Row -> its stream [1, *rest], for rows 0..L. The logits of row L are `model_logits`."""
    groups: tuple[tuple[int, ...], ...]
    """Rows 0..L-1 in order, in the groups in which the pass took them through the tail."""
    model_logits: Tensor
    """The model's own logits, which are those of row L: float32 [1, vocabulary]."""
    device: torch.device
    """The device on which the model returned its logits."""
    project: Project
    text_of: TextOf
    replays: bool
    """Whether reading runs the model again; `project` then keeps the inputs and a whole stream."""

    def track(self, ids: Sequence[int], stop: Callable[[], bool] = _never) -> tuple[Tracked, ...]:
        """Follow these tokens through all rows.

        Raises BadInput for an id that is not in the vocabulary, Cancelled soon after `stop()`.
        """
        vocabulary = self.model_logits.shape[-1]
        for token in ids:
            if not 0 <= token < vocabulary:
                raise BadInput(f"there is no token {token}: ids go from 0 to {vocabulary - 1}")
        why: dict[int, Why] = dict.fromkeys(ids, "user")
        if not why:
            return ()
        numbers = [
            read(self._logits(group, stop), tokens=list(why)).numbers()
            for group in (*self.groups, (self._last,))
        ]
        return tracked_tokens(why, numbers, self.text_of)

    def deepen(self, row: int, count: int, stop: Callable[[], bool] = _never) -> LayerReading:
        """Read one row again, with `count` top tokens, at most the whole vocabulary.

        Raises BadInput if there is no such row, Cancelled soon after `stop()`.
        """
        if not 0 <= row <= self._last:
            raise BadInput(f"there is no row {row}: this run's rows go from 0 to {self._last}")
        group = next((group for group in self.groups if row in group), (row,))
        index = group.index(row)
        logits = self._logits(group, stop)[index : index + 1]  # [1, vocabulary]
        count = min(max(count, 1), logits.shape[-1])

        def text_of(token: int) -> str:
            # A whole vocabulary takes seconds to decode.
            if stop():
                raise Cancelled("cancelled")
            return self.text_of(token)

        (top,) = top_tokens(read(logits, count).numbers(), text_of)
        return structs.replace(self.readings[row], top=top)

    def probabilities(self, stop: Callable[[], bool] = _never) -> Tensor:
        """The probability of every token in rows 0..L: float32 [L + 1, vocabulary], on the CPU.

        Raises Cancelled soon after `stop()`.
        """
        groups = (*self.groups, (self._last,))
        return torch.cat([self._logits(group, stop).softmax(-1).cpu() for group in groups])

    @property
    def _last(self) -> int:
        return len(self.readings) - 1

    def _logits(self, rows: tuple[int, ...], stop: Callable[[], bool]) -> Tensor:
        if stop():
            raise Cancelled("cancelled")
        if rows == (self._last,):
            return self.model_logits.to(self.device)
        with self.lock, inferring(self.model):
            logits = self.project(sent_together([self.streams[row] for row in rows], self.device))
        return logits.to(self.device)


def sent_together(rows: Sequence[RowStream], device: torch.device) -> list[RowStream]:
    """The streams of a group on a device; a copy to a CUDA device is queued there, not waited
    for."""
    kinds = {(each.stream.shape, each.stream.dtype, each.stream.device) for each in rows}
    if len(kinds) == 1 and not any(each.companions for each in rows):
        streams = sent(torch.stack([each.stream for each in rows]), device)
        return [RowStream(stream) for stream in streams]
    moved = []
    for each in rows:
        companions = tuple(sent(companion, device) for companion in each.companions)
        moved.append(RowStream(sent(each.stream, device), companions))
    return moved


def in_main_memory(streams: Mapping[int, RowStream]) -> dict[int, RowStream]:
    """Copies of the rows' streams in main memory, without what only a row's note needs.

    Rows whose tensors are alike come over together: every copy is a wait for the device.
    """
    alike: dict[tuple[object, ...], list[int]] = {}
    for row, each in streams.items():
        tensors = (each.stream, *each.companions)
        kind = tuple((tensor.shape, tensor.dtype, tensor.device) for tensor in tensors)
        alike.setdefault(kind, []).append(row)
    copied: dict[int, RowStream] = {}
    for rows in alike.values():
        pieces = [
            torch.stack(column).cpu().unbind()
            for column in zip(
                *((streams[row].stream, *streams[row].companions) for row in rows), strict=True
            )
        ]
        for row, (stream, *companions) in zip(rows, zip(*pieces, strict=True), strict=True):
            copied[row] = RowStream(stream, tuple(companions))
    return {row: copied[row] for row in streams}
