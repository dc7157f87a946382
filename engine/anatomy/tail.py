"""The interface of a model's tail: what the model calls between its last layer and its logits.

It has two implementations: `engine.anatomy.explicit` calls the model's own modules one after the
other, `engine.anatomy.replay` runs the whole model with its layers bypassed. `engine.lens.proving`
decides which one a model gets; nothing else needs to know.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from engine.anatomy.columns import Columns
from engine.anatomy.hooks import Slot
from engine.anatomy.logit_map import LogitMap

TailMethod = Literal["tail", "replay"]


class RowStream(NamedTuple):
    """What one row is read from, at n = batch items * positions places."""

    stream: Tensor
    """The residual stream, [n, *rest]; `rest` is the width in nearly all models."""
    companions: tuple[Tensor, ...] = ()
    """Other tensors that the layers pass on in addition to the stream and that the tail takes too,
    [n, *rest] each."""
    before_addition: Tensor | None = None
    """The output of the previous layer, [n, *rest], if the model may add something to it before
    this row's layer (DeepStack, gated cross-attention blocks)."""

    def mapped(self, change: Callable[[Tensor], Tensor]) -> RowStream:
        """The row with every tensor changed alike."""
        if not self.companions and self.before_addition is None:
            return RowStream(change(self.stream))
        before = self.before_addition
        return RowStream(
            change(self.stream),
            tuple(map(change, self.companions)),
            None if before is None else change(before),
        )

    def followed_by(self, other: RowStream) -> RowStream:
        """The same row at the places of both, copied."""
        befores = [
            each.before_addition for each in (self, other) if each.before_addition is not None
        ]
        return RowStream(
            torch.cat([self.stream, other.stream]),
            tuple(torch.cat(both) for both in zip(self.companions, other.companions, strict=True)),
            torch.cat(befores) if befores else None,
        )


@dataclass(frozen=True)
class Entry:
    """Where a pass sees the stream of row L."""

    module: nn.Module
    slot: Slot | None
    """Which argument of the module is the stream; None if it is the module's output."""
    companion_slots: tuple[Slot, ...] = ()
    """Which arguments of the module are the stream's companions."""


@dataclass
class PassMemory:
    """What a tail that runs the whole model again needs from the pass that is read."""

    inputs: Mapping[str, Any]
    """The keyword arguments of the model's forward."""
    answers: dict[nn.Module, list[Any]] = field(default_factory=dict)
    """The outputs of the tail's `remembered` modules, one for each call."""
    stream: Tensor | None = None
    """The residual stream at all positions as it entered some layer; None until one is entered."""


class OpenTail(NamedTuple):
    """A tail taken apart, for streams of one vector at each position."""

    before_head: Callable[[Tensor], Tensor]
    """f(streams [n, width]) -> what enters the head, [n, width of the head]"""
    head: nn.Module
    logit_map: LogitMap
    """What makes logits of the head's output."""


class Tail(Protocol):
    """Turns residual streams into logits, exactly as the model does."""

    @property
    def method(self) -> TailMethod:
        """How the tail runs, as proofs record it."""

    @property
    def replays(self) -> bool:
        """Whether reading runs the whole model again. Such a tail needs the memory of the pass that
        is read, cannot run at the same time as that pass, and cannot read the rows of another."""

    @property
    def takes_batches(self) -> bool:
        """Whether the rows of several batch items can be read in one pass."""

    @property
    def position_axis(self) -> int:
        """The axis of a residual stream that counts positions; the axis before it is the batch."""

    @property
    def device(self) -> torch.device:
        """The device that rows go to."""

    @property
    def entry(self) -> Entry:
        """Where a pass sees the stream of row L."""

    @property
    def companion_slots(self) -> tuple[Slot, ...]:
        """Which arguments of a layer are the stream's companions, in the order of `RowStream`."""

    @property
    def remembered(self) -> tuple[nn.Module, ...]:
        """The modules whose outputs a pass must record in its `PassMemory`."""

    def logits(
        self, rows: Sequence[RowStream], norm: bool = True, memory: PassMemory | None = None
    ) -> Tensor:
        """The float32 logits of `rows`, [positions of all rows, vocabulary], on the head's device.

        With `norm` off the streams go straight to the head and what follows it. A tail that replays
        needs the `memory` of the pass.
        """

    @property
    def has_columns(self) -> bool:
        """Whether `columns` computes only the part of the vocabulary that is asked for; if not, it
        makes all logits of its cells at once."""

    def columns(
        self, rows: Sequence[RowStream], norm: bool = True, memory: PassMemory | None = None
    ) -> Columns:
        """As `logits`, for reading a part of the vocabulary at a time."""

    def opened(self) -> OpenTail | str:
        """The tail taken apart, or the reason why it cannot be."""

    def refuse_norm_off(self) -> None:
        """Raise CannotRead if the final norm of this model cannot be left out."""

    def described(self, names: Mapping[nn.Module, str]) -> list[tuple[str, str]]:
        """What the tail consists of, as (what, how) lines; `names` maps modules to their names."""
