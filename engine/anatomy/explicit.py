"""The explicit tail: calls the model's own modules between its last layer and its logits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from engine.anatomy.columns import Columns, HeadColumns, WholeColumns, is_one_matrix
from engine.anatomy.hooks import Slot
from engine.anatomy.logit_map import LogitMap
from engine.anatomy.tail import Entry, OpenTail, PassMemory, RowStream, TailMethod
from engine.anatomy.watching import output_stream
from engine.errors import CannotRead

CHUNK = 64
"""Positions that go through the head at once; bounds the memory that [CHUNK, vocabulary] takes."""
CHUNK_OF_HIDDEN = 4096
"""Positions that go as far as the head at once."""


@dataclass(frozen=True)
class TailStep:
    """One module of the tail, with the arguments that the watched pass called it with."""

    module: nn.Module
    slot: Slot
    """Which argument is the residual stream."""
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    companion_slots: tuple[Slot, ...] = ()
    """Which arguments are the stream's companions (see `RowStream`)."""

    def __call__(self, stream: Tensor, companions: Sequence[Tensor] = ()) -> Tensor:
        args, kwargs = self.slot.put(self.args, self.kwargs, stream)
        for slot, companion in zip(self.companion_slots, companions, strict=True):
            args, kwargs = slot.put(args, kwargs, companion)
        return output_stream(self.module(*args, **kwargs))


@dataclass(frozen=True)
class ExplicitTail:
    """A `Tail` that calls the model's own modules one after the other."""

    steps: tuple[TailStep, ...]
    scale: float
    """The factor by which the model multiplies the stream before its head."""
    head: nn.Module
    logit_map: LogitMap
    position_axis: int
    device: torch.device
    stream_shape: tuple[int, ...]
    """Shape of the stream at one position: [width], or [streams, width] for a model that carries
    several residual streams."""
    entry: Entry
    """The argument of the first module, or of the head where there is no other module."""
    companion_slots: tuple[Slot, ...] = ()
    few: int = 0
    """Up to so many positions meet the head the other way round, see `few_logits`."""
    method: ClassVar[TailMethod] = "tail"
    replays: ClassVar[bool] = False
    takes_batches: ClassVar[bool] = True
    remembered: ClassVar[tuple[nn.Module, ...]] = ()

    def logits(
        self, rows: Sequence[RowStream], norm: bool = True, memory: PassMemory | None = None
    ) -> Tensor:
        """See `Tail.logits`; `memory` is not needed."""
        chunks = [
            self.logit_map(self.raw_logits(hidden))[0] for hidden in self._head_inputs(rows, norm)
        ]
        return torch.cat(chunks)  # [positions of all rows, vocabulary]

    def raw_logits(self, hidden: Tensor) -> Tensor:
        """The head's output for its input [1, n, width]."""
        if hidden.ndim == 3 and hidden.shape[1] <= self.few and is_one_matrix(self.head):
            return few_logits(self.head, hidden[0]).unsqueeze(0)
        output: Tensor = self.head(hidden)
        return output

    @property
    def has_columns(self) -> bool:
        """See `Tail.has_columns`."""
        return is_one_matrix(self.head)

    def columns(
        self, rows: Sequence[RowStream], norm: bool = True, memory: PassMemory | None = None
    ) -> Columns:
        """See `Tail.columns`; `memory` is not needed."""
        if not is_one_matrix(self.head):
            return WholeColumns(self.logits(rows, norm))
        assert isinstance(self.head, nn.Linear)
        hidden = torch.cat(
            [hidden[0] for hidden in self._head_inputs(rows, norm, CHUNK_OF_HIDDEN)]
        )  # [n, width]
        return HeadColumns(hidden.to(self.head.weight.device), self.head, self.logit_map)

    def _head_inputs(
        self, rows: Sequence[RowStream], norm: bool, at_once: int = CHUNK
    ) -> Iterator[Tensor]:
        """What goes into the head, [1, n, width] for so many positions at a time."""
        if not self.companion_slots:
            rows = [RowStream(torch.cat([row.stream.to(self.device) for row in rows]))]
        for row in rows:
            companions = [companion.split(at_once) for companion in row.companions]
            for streams, *others in zip(row.stream.split(at_once), *companions, strict=True):
                yield self._head_input(streams, others, norm)

    def _head_input(self, streams: Tensor, companions: Sequence[Tensor], norm: bool) -> Tensor:
        hidden = self._as_positions(streams)  # [1, n, width], in the model's layout
        if norm:
            others = [self._as_positions(companion) for companion in companions]
            for step in self.steps:
                hidden = step(hidden, others)
                others = []
            if self.scale != 1.0:
                hidden = hidden * self.scale
        return hidden

    def _as_positions(self, streams: Tensor) -> Tensor:
        """[n, *rest] -> one batch item of n positions, in the model's layout of a stream."""
        axis = self.position_axis
        return streams.to(self.device).unsqueeze(0).movedim((0, 1), (axis - 1, axis))

    def opened(self) -> OpenTail | str:
        """See `Tail.opened`."""
        if len(self.stream_shape) > 1:
            return f"the model merges {self.stream_shape[0]} residual streams before its head"
        if self.companion_slots:
            return "its tail takes more than the residual stream"
        return OpenTail(self._before_head, self.head, self.logit_map)

    def _before_head(self, streams: Tensor) -> Tensor:
        return self._head_input(streams, (), norm=True).reshape(len(streams), -1)

    def refuse_norm_off(self) -> None:
        """See `Tail.refuse_norm_off`."""
        if not self.steps:
            raise CannotRead(
                "norm off: this model has no final norm between its last layer and its head"
            )
        if len(self.stream_shape) > 1:
            raise CannotRead(
                f"norm off: the model merges {self.stream_shape[0]} residual streams "
                "before its head"
            )
        width = getattr(self.head, "in_features", self.stream_shape[-1])
        if self.position_axis != 1 or self.stream_shape[-1] != width:
            raise CannotRead(
                "norm off: the residual stream does not have the width that the head takes, "
                "so it cannot go straight to it"
            )

    def described(self, names: Mapping[nn.Module, str]) -> list[tuple[str, str]]:
        """See `Tail.described`."""
        path = [f"{names[step.module]} ({type(step.module).__name__})" for step in self.steps]
        path += [f"scale {self.scale:.6g}"] if self.scale != 1.0 else []
        path.append(f"{names[self.head]} ({type(self.head).__name__})")
        lines = [("tail", " -> ".join([*path, *self.logit_map.described()]))]
        if self.companion_slots:
            lines.append(("", "its first module also takes other tensors that the layers pass on"))
        return lines


def few_logits(head: nn.Module, hidden: Tensor) -> Tensor:
    """What a head that is one matrix makes of a few positions, [n, width] -> [n, vocabulary].

    The same product as the head's own, written as weight times input and not as input times weight.
    Some libraries for CPUs read the weight once for each position in the one and once for all in
    the other, or bring all of it into another layout first.
    """
    assert isinstance(head, nn.Linear)
    found = torch.mm(head.weight, hidden.T).T.contiguous()
    return found if head.bias is None else found + head.bias
