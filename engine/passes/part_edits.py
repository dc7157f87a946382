"""Takes one part of a layer out of a pass at one position, or puts another pass's in its place."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from engine.anatomy.hooks import (
    Args,
    Kwargs,
    changing,
    first_float_tensor,
    hooked,
    slots,
    with_first_tensor,
)
from engine.passes.edits import Active
from engine.passes.forward import Forward
from engine.passes.layer_watches import at_position

_CONTIGUOUS = torch.contiguous_format


@dataclass
class Scaled:
    """An editor (see `engine.passes.edits`) that multiplies a part by a factor at the position that
    a `Forward` reads of a batch of one: 0 takes it out, 1 changes nothing, to the bit."""

    forward: Forward
    layer: int
    """The layer that the part is of; with no `module`, everything that the layer adds."""
    module: nn.Module | None
    """The module whose output is the part; with a `head`, the one that takes all heads' outputs."""
    call: int = 0
    """Which of the module's calls in one run of the layer."""
    head: tuple[int, int] | None = None
    """Which head, and of how many: parts of the module's input. Units are heads of width 1."""
    factor: float = 0.0
    row: int | None = None
    """Which of the vectors that the module takes, where these are not those of all positions."""
    vector: Tensor | None = None
    """Only this of the module's output, [width], is multiplied: of the output's own dtype."""

    @contextmanager
    def attached(self, active: Active) -> Iterator[None]:
        """See `engine.passes.edits.Attached`."""
        self._active = active
        self._inside, self._calls = False, 0
        layer = self.forward.parts.layers[self.layer]
        with ExitStack() as stack:
            stack.enter_context(hooked({layer: self._enters}))
            if self.module is None:
                stack.enter_context(changing(layer, after=self._without_change))
            elif self.head is None:
                stack.enter_context(changing(self.module, after=self._output))
            else:
                stack.enter_context(changing(self.module, before=self._input))
            stack.enter_context(hooked(after={layer: self._leaves}))
            yield

    def _enters(self, module: nn.Module, args: Args, kwargs: Kwargs) -> None:
        if self._active():
            self._inside, self._calls = True, 0
            stream: Tensor = self.forward.parts.stream_slot.get(args, kwargs)
            # A copy where its numbers are needed: the layer may change it in place.
            self._stream = stream.clone() if self.module is None else stream

    def _leaves(self, module: nn.Module, args: Args, kwargs: Kwargs, output: Any) -> None:
        if self._active():
            self._inside = False

    def _at(self, value: Tensor) -> Tensor:
        return at_position(value, self._stream, self.forward)

    def _row(self) -> int:
        if self.row is not None:
            return self.row
        assert self.forward.absolute_positions is not None
        return int(self.forward.absolute_positions[0, 0])

    def _edited(self, value: Tensor, edit: Callable[[Tensor], Tensor]) -> Tensor:
        made = value.clone(memory_format=_CONTIGUOUS)
        place = self._at(made)
        place.copy_(edit(place))
        return made

    def _without_change(self, module: nn.Module, args: Args, kwargs: Kwargs, output: Any) -> Any:
        value = first_float_tensor(output)
        if not self._active() or value is None or self.factor == 1.0:
            return None
        before = self._at(self._stream)
        made = self._edited(value, lambda after: before + self.factor * (after - before))
        return with_first_tensor(output, made)

    def _output(self, module: nn.Module, args: Args, kwargs: Kwargs, output: Any) -> Any:
        value = first_float_tensor(output)
        if not (self._active() and self._inside) or value is None:
            return None
        self._calls += 1
        if self._calls != self.call + 1:
            return None
        if self.vector is not None:
            made = value.clone(memory_format=_CONTIGUOUS)
            made.view(-1, made.shape[-1])[self._row()] -= (1.0 - self.factor) * self.vector
            return with_first_tensor(output, made)
        if value.numel() != self._stream.numel():
            return None
        return with_first_tensor(output, self._edited(value, lambda part: part * self.factor))

    def _input(self, module: nn.Module, args: Args, kwargs: Kwargs) -> tuple[Args, Kwargs] | None:
        slot = next(slots(args, kwargs), None)
        if not (self._active() and self._inside) or slot is None:
            return None
        self._calls += 1
        if self._calls != self.call + 1:
            return None
        assert self.head is not None
        value: Tensor = slot.get(args, kwargs)
        made = value.clone(memory_format=_CONTIGUOUS)
        head, heads = self.head
        # [batch * positions, heads, value width]; the batch is of one.
        every = made.view(-1, heads, value.shape[-1] // heads)
        every[self._row(), head] *= self.factor
        return slot.put(args, kwargs, made)


@dataclass
class Written(Scaled):
    """An editor that puts the output of a module that a pass over other inputs has given in place
    of its own, at some positions of each item of a batch. A pass's own output in its own place
    changes nothing, to the bit."""

    output: Tensor = field(kw_only=True)
    """[positions, *rest]"""
    kept: Tensor | None = None
    """int64 [n] on the CPU, ascending: the positions that `output` has, if not all."""
    positions: Sequence[Tensor] = field(kw_only=True)
    """For each item, int64 [n] on the CPU: where it is replaced."""

    def _edited(self, value: Tensor, edit: Callable[[Tensor], Tensor]) -> Tensor:
        made = value.clone(memory_format=_CONTIGUOUS)
        rows = self.forward.by_position(made.view(self._stream.shape))
        for item, places in enumerate(self.positions):
            own = places if self.kept is None else torch.searchsorted(self.kept, places)
            rows[item, places.to(rows.device)] = self.output[own.to(self.output.device)].to(rows)
        return made
