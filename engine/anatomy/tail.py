"""The explicit tail of a model: its own modules between the last layer and its logits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn

from engine.anatomy.hooks import Slot
from engine.anatomy.logit_map import LogitMap
from engine.anatomy.watching import output_stream
from engine.errors import CannotRead

CHUNK = 64
"""Rows that are taken through head and softmax at once; bounds memory for any vocabulary."""


class RowStream(NamedTuple):
    """What one row is read from, at n positions (batch items times positions)."""

    stream: Tensor
    """The residual stream, [n, *rest]."""
    companions: tuple[Tensor, ...] = ()
    """What else the model hands from layer to layer and at last to its tail, [n, *rest] each."""
    left: Tensor | None = None
    """What the layer before returned, where the model is known to add to it."""


@dataclass(frozen=True)
class TailStep:
    """One module of the tail, its other arguments, and where the stream goes in."""

    module: nn.Module
    slot: Slot
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    companion_slots: tuple[Slot, ...] = ()
    """Where the stream's companions go in."""

    def __call__(self, stream: Tensor, companions: Sequence[Tensor] = ()) -> Tensor:
        args, kwargs = self.slot.put(self.args, self.kwargs, stream)
        for slot, companion in zip(self.companion_slots, companions, strict=True):
            args, kwargs = slot.put(args, kwargs, companion)
        return output_stream(self.module(*args, **kwargs))


@dataclass(frozen=True)
class Tail:
    """The model's own modules between the last layer and its logits."""

    steps: tuple[TailStep, ...]
    scale: float
    """What the model multiplies the stream by ahead of its head."""
    head: nn.Module
    logit_map: LogitMap
    position_axis: int
    device: torch.device
    stream_shape: tuple[int, ...]
    """Of the stream at one position: its width, after the number of streams where there are more.
    """
    entry: tuple[nn.Module, Slot]
    """The module and argument through which the stream enters the tail during a pass."""
    companion_slots: tuple[Slot, ...] = ()
    """Where a layer's arguments hold the stream's companions, in the order of the first step's."""
    method: ClassVar[Literal["tail"]] = "tail"

    def logits(self, rows: Sequence[RowStream], norm: bool = True) -> Tensor:
        """Rows to float32 logits [all their positions, vocabulary], on the head's device.

        With `norm` off they go straight to the head and what follows it.
        """
        if not self.companion_slots:
            rows = [RowStream(torch.cat([row.stream.to(self.device) for row in rows]))]
        parts: list[Tensor] = []
        for row in rows:
            companions = [companion.split(CHUNK) for companion in row.companions]
            parts += [
                self._chunk(streams, others, norm)
                for streams, *others in zip(row.stream.split(CHUNK), *companions, strict=True)
            ]
        return torch.cat(parts)

    def _chunk(self, streams: Tensor, companions: Sequence[Tensor], norm: bool) -> Tensor:
        hidden = self._as_positions(streams)
        if norm:
            others = [self._as_positions(companion) for companion in companions]
            for step in self.steps:
                hidden = step(hidden, others)
                others = []
            if self.scale != 1.0:
                hidden = hidden * self.scale
        return self.logit_map(self.head(hidden))[0]

    def _as_positions(self, streams: Tensor) -> Tensor:
        """[n, *rest] laid out as one batch item of n positions, as the model lays out streams."""
        axis = self.position_axis
        return streams.to(self.device).unsqueeze(0).movedim((0, 1), (axis - 1, axis))

    def refuse_norm_off(self) -> None:
        """Raise CannotRead where leaving the final norm out has no meaning."""
        if not self.steps:
            raise CannotRead("norm off: this model has no final norm between last layer and head")
        if len(self.stream_shape) > 1:
            raise CannotRead(
                f"norm off: the model brings {self.stream_shape[0]} residual streams together "
                "ahead of its head"
            )
        width = getattr(self.head, "in_features", self.stream_shape[-1])
        if self.position_axis != 1 or self.stream_shape[-1] != width:
            raise CannotRead(
                "norm off: the residual stream is not as wide as the head, "
                "so it cannot go straight to it"
            )
