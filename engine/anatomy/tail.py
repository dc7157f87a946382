"""The tail of a model, as all who use it see it: what it calls between last layer and logits.

There are two ways to run it: `engine.anatomy.explicit` calls the model's own modules one by one,
`engine.anatomy.replay` runs the whole model with its layers bypassed. Which of them a model has is
found by `engine.lens.proving`; nothing else needs to know.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from engine.anatomy.hooks import Slot

TailMethod = Literal["tail", "replay"]


class RowStream(NamedTuple):
    """What one row is read from, at n positions (batch items times positions)."""

    stream: Tensor
    """The residual stream, [n, *rest]."""
    companions: tuple[Tensor, ...] = ()
    """What else the model hands from layer to layer and at last to its tail, [n, *rest] each."""
    left: Tensor | None = None
    """What the layer before returned, where the model is known to add to it."""


@dataclass(frozen=True)
class Entry:
    """Where the stream of row L is seen during a pass."""

    module: nn.Module
    slot: Slot | None
    """Where the module's arguments hold it; None where it is what the module returns."""
    companion_slots: tuple[Slot, ...] = ()
    """Where the module's arguments hold the stream's companions."""


@dataclass
class PassMemory:
    """What one pass leaves for a tail that runs the whole model again."""

    inputs: Mapping[str, Any]
    """What the model was called with."""
    answers: dict[nn.Module, list[Any]] = field(default_factory=dict)
    """What each of the tail's `remembered` modules returned, call by call."""
    stream: Tensor | None = None
    """A whole residual stream, as it entered one of the layers; None before the first."""


class Tail(Protocol):
    """From residual streams to logits, as the model itself does it."""

    @property
    def method(self) -> TailMethod:
        """How it is run, as the proof records it."""

    @property
    def replays(self) -> bool:
        """Whether reading runs the whole model again. Then it needs the memory of the pass that is
        read, it cannot run beside that pass, and it cannot read another pass's rows."""

    @property
    def takes_batches(self) -> bool:
        """Whether the rows of several items can be read in one pass."""

    @property
    def position_axis(self) -> int:
        """Axis of a whole stream that counts positions; the axis before it counts the batch."""

    @property
    def device(self) -> torch.device:
        """Where rows are taken through it."""

    @property
    def entry(self) -> Entry:
        """Where row L is seen during a pass."""

    @property
    def companion_slots(self) -> tuple[Slot, ...]:
        """Where a layer's arguments hold the stream's companions, in the order of `RowStream`."""

    @property
    def remembered(self) -> tuple[nn.Module, ...]:
        """Modules whose outputs a pass has to keep in its `PassMemory`."""

    def logits(
        self, rows: Sequence[RowStream], norm: bool = True, memory: PassMemory | None = None
    ) -> Tensor:
        """Rows to float32 logits [all their positions, vocabulary], on the head's device.

        With `norm` off they go straight to the head and what follows it. A tail that replays needs
        the `memory` of the pass.
        """

    def refuse_norm_off(self) -> None:
        """Raise CannotRead where leaving the final norm out has no meaning."""

    def described(self, names: Mapping[nn.Module, str]) -> list[tuple[str, str]]:
        """What it consists of, as (what, how) lines; `names` are those of the model's modules."""
