"""Keeps what one pass hands from layer to layer, and puts it into another pass from some row on.

A row is the residual stream that enters a layer, with its companions; the last row is what enters
the final norm. Beside rows, models give their layers more: what they add to the stream between two
layers (DeepStack, gated cross-attention), and tensors that every layer is handed anew (the states
of an encoder). Here these are called features.

It stands apart from `engine.passes.row_values`, which changes rows within the graph of a backward
pass: what is kept here outlives its pass, and is put into another, item by item.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from engine.anatomy.hooks import (
    Args,
    Kwargs,
    Slot,
    answering,
    changing,
    first_float_tensor,
    hooked,
    slots,
    with_first_tensor,
)
from engine.anatomy.watching import emptied
from engine.errors import BadInput
from engine.passes.edits import Active
from engine.passes.forward import Forward
from engine.passes.whole_streams import MOST_BYTES, too_much


@dataclass
class RowsWatch:
    """Attach it to a `Forward` over a batch of one; then see its rows and features."""

    forward: Forward
    positions: Tensor | None = None
    """int64 [n] on the CPU, ascending: where rows are kept; everywhere if None."""
    whole: Collection[int] = ()
    """Rows that are kept everywhere in any case."""
    rows: dict[int, tuple[Tensor, ...]] = field(default_factory=dict)
    """Layer that ran, or the number of layers for what enters the final norm -> copies of the
    stream and its companions, [positions, *rest] each."""
    added: dict[int, Tensor] = field(default_factory=dict)
    """The same -> what the model has added to what the layer before returned, float64 [positions,
    *rest] on the CPU, everywhere; absent if nothing."""
    given: dict[int, dict[Slot, Tensor]] = field(default_factory=dict)
    """Layer -> the other tensors that it was given."""
    structures: dict[int, Any] = field(default_factory=dict)
    """Layer -> what it returned, with an empty stream."""

    @contextmanager
    def attached(self, active: Active) -> Iterator[None]:
        """See `engine.passes.edits.Attached`. The pass raises BadInput if its rows would take more
        than MOST_BYTES."""
        self._active = active
        self._output: Tensor | None = None
        self._bytes = 0
        layers = self.forward.parts.layers
        before: dict[nn.Module, Any] = {
            layer: self._enters(index) for index, layer in enumerate(layers)
        }
        after = {layer: self._leaves(index) for index, layer in enumerate(layers)}
        entry = self.forward.parts.tail.entry
        ends = {entry.module: self._ends}
        with (
            hooked(before, after),
            hooked(after=ends) if entry.slot is None else hooked(ends),
        ):
            yield

    def entry(self, row: int) -> int:
        """The first layer from this row on that runs; the number of layers if there is none."""
        return min(layer for layer in self.rows if layer >= row)

    def at(self, layer: int, positions: Tensor) -> tuple[Tensor, ...]:
        """The stream that enters a layer and its companions, at some of the positions that are
        kept, int64 [n] ascending."""
        if self.positions is not None and layer not in self.whole:
            positions = torch.searchsorted(self.positions, positions)
        return tuple(each[positions.to(each.device)] for each in self.rows[layer])

    def _enters(self, index: int) -> Any:
        def enters(module: nn.Module, args: Args, kwargs: Kwargs) -> None:
            if not self._active() or index in self.rows:
                return
            parts = self.forward.parts
            taken = (parts.stream_slot, *parts.tail.companion_slots)
            self._take(index, [slot.get(args, kwargs) for slot in taken])
            self.given[index] = {
                slot: slot.get(args, kwargs) for slot in slots(args, kwargs) if slot not in taken
            }

        return enters

    def _leaves(self, index: int) -> Any:
        def leaves(module: nn.Module, args: Args, kwargs: Kwargs, output: Any) -> None:
            made = first_float_tensor(output)
            if self._active() and made is not None:
                # A copy: the model may add to it in place before the next layer.
                self._output = made.clone()
                self.structures[index] = emptied(output)

        return leaves

    def _ends(self, module: nn.Module, args: Args, kwargs: Kwargs, output: Any = None) -> None:
        if not self._active() or not self.rows:
            return
        entry = self.forward.parts.tail.entry
        streams: list[Tensor | None] = [first_float_tensor(output)]
        if entry.slot is not None:
            streams = [slot.get(args, kwargs) for slot in (entry.slot, *entry.companion_slots)]
        self._take(len(self.forward.parts.layers), [each for each in streams if each is not None])

    def _take(self, layer: int, streams: Sequence[Tensor]) -> None:
        kept_everywhere = self.positions is None or layer in self.whole
        kept = []
        for each in streams:
            whole = self.forward.by_position(each)[0]
            kept.append((whole if kept_everywhere else whole[self.positions]).clone())
        self.rows[layer] = tuple(kept)
        size = sum(each.nbytes for each in kept)
        self._bytes += size
        whole_size = size * (len(self.forward.parts.layers) + 1)
        if self._bytes > MOST_BYTES or (whole_size > MOST_BYTES and self.positions is None):
            raise BadInput(too_much(len(kept[0]), max(whole_size, self._bytes), MOST_BYTES))
        output, self._output = self._output, None
        if output is None or output.shape != streams[0].shape or output.equal(streams[0]):
            return
        both = (self.forward.by_position(value)[0] for value in (streams[0], output))
        row, before = (value.cpu().double() for value in both)
        self.added[layer] = row - before


@dataclass(frozen=True)
class Features:
    """What one pass gave its layers beside the stream, where another was given something else."""

    added: Mapping[int, Tensor] = field(default_factory=dict)
    """As in `RowsWatch`."""
    given: Mapping[int, Mapping[Slot, Tensor]] = field(default_factory=dict)

    @classmethod
    def of(cls, kept: RowsWatch, other: RowsWatch) -> Features:
        """Those of `kept`."""
        added: dict[int, Tensor] = {}
        for layer in kept.added.keys() | other.added.keys():
            mine, its = kept.added.get(layer), other.added.get(layer)
            if mine is None:
                added[layer] = torch.zeros_like(other.added[layer])
            elif its is None or not mine.equal(its):
                added[layer] = mine
        given: dict[int, dict[Slot, Tensor]] = {}
        for layer, arguments in kept.given.items():
            others = other.given.get(layer, {})
            for slot, value in arguments.items():
                its = others.get(slot)
                if its is not None and its.shape == value.shape and not its.equal(value):
                    given.setdefault(layer, {})[slot] = value
        return cls(added, given)

    def __bool__(self) -> bool:
        return bool(self.added or self.given)


@dataclass(frozen=True)
class RowPatch:
    """What is put into one item of a pass."""

    source: RowsWatch
    """The pass that it is taken from."""
    positions: Tensor
    """int64 [n] on the CPU, ascending: where the row is replaced; empty for nowhere."""
    features: Features | None = None
    """What is put in place of the pass's own features, from the row on."""


class RowEdit:
    """An editor (see `engine.passes.edits`) that puts one row into the items of a pass.

    With `start`, the kept rows of a plain pass over the same inputs, no layer before the row runs:
    first the row of that pass is put everywhere. If nothing is put, no bit changes. Features can
    only be put into a batch of one.
    """

    def __init__(
        self,
        forward: Forward,
        layer: int,
        patches: Sequence[RowPatch],
        start: RowsWatch | None = None,
    ) -> None:
        """`patches` has one for each item of the batch. The row is that which enters `layer`; see
        `RowsWatch.entry`."""
        self._forward, self._layer, self._patches, self._start = forward, layer, patches, start
        features = [patch.features for patch in patches if patch.features is not None]
        if features and len(patches) > 1:
            raise ValueError("features can only be put into a batch of one")
        self._features = features[0] if features else Features()

    @contextmanager
    def attached(self, active: Active) -> Iterator[None]:
        """See `engine.passes.edits.Attached`."""
        self._active = active
        self._entered: set[int] = set()
        self._output: Tensor | None = None
        parts = self._forward.parts
        layers, last = parts.layers, len(parts.layers)
        edited = {self._layer, *self._features.given, *self._features.added}
        with ExitStack() as stack:
            if self._start is not None:
                skipped = [index for index in self._start.structures if index < self._layer]
                stack.enter_context(answering({layers[i]: self._passing_on(i) for i in skipped}))
            for index in sorted(edited):
                if self._layer <= index < last:
                    stack.enter_context(changing(layers[index], before=self._enters(index)))
            if last in edited and parts.tail.entry.slot is not None:
                stack.enter_context(changing(parts.tail.entry.module, before=self._ends))
            elif last in edited:
                stack.enter_context(changing(parts.tail.entry.module, after=self._left_last))
            if self._features.added:
                stack.enter_context(hooked(after=dict.fromkeys(layers, self._leaves)))
            yield

    def _passing_on(self, index: int) -> Any:
        assert self._start is not None
        structure, slot = self._start.structures[index], self._forward.parts.stream_slot

        def answer(*args: Any, **kwargs: Any) -> Any:
            return with_first_tensor(structure, slot.get(args, kwargs))

        return answer

    def _enters(self, index: int) -> Any:
        parts = self._forward.parts

        def enters(module: nn.Module, args: Args, kwargs: Kwargs) -> tuple[Args, Kwargs] | None:
            if not self._active() or index in self._entered:
                return None
            self._entered.add(index)
            placed = (parts.stream_slot, *parts.tail.companion_slots)
            args, kwargs = self._put(index, placed, args, kwargs)
            for slot, value in self._features.given.get(index, {}).items():
                args, kwargs = slot.put(args, kwargs, value)
            return args, kwargs

        return enters

    def _ends(self, module: nn.Module, args: Args, kwargs: Kwargs) -> tuple[Args, Kwargs] | None:
        parts = self._forward.parts
        if not self._active() or self._forward.absolute_positions is None:
            return None
        assert parts.tail.entry.slot is not None
        placed = (parts.tail.entry.slot, *parts.tail.entry.companion_slots)
        return self._put(len(parts.layers), placed, args, kwargs)

    def _left_last(self, module: nn.Module, args: Args, kwargs: Kwargs, output: Any) -> Any:
        value = first_float_tensor(output)
        if not self._active() or value is None or self._forward.absolute_positions is None:
            return None
        return with_first_tensor(output, self._made(len(self._forward.parts.layers), 0, value))

    def _leaves(self, module: nn.Module, args: Args, kwargs: Kwargs, output: Any) -> None:
        made = first_float_tensor(output)
        if self._active() and made is not None:
            self._output = made.clone()

    def _put(
        self, index: int, placed: Sequence[Slot], args: Args, kwargs: Kwargs
    ) -> tuple[Args, Kwargs]:
        for number, slot in enumerate(placed):
            value = slot.get(args, kwargs)
            if isinstance(value, Tensor):
                args, kwargs = slot.put(args, kwargs, self._made(index, number, value))
        return args, kwargs

    def _made(self, index: int, number: int, value: Tensor) -> Tensor:
        """What a layer is given instead of its stream (0) or a companion (from 1 on)."""
        here = index == self._layer
        start = self._start if here else None
        added = self._features.added.get(index) if number == 0 else None
        puts = here and any(len(patch.positions) for patch in self._patches)
        if start is None and added is None and not puts:
            return value
        made = value.clone()
        rows = self._forward.by_position(made)  # [batch, positions, *rest], a view
        if start is not None:
            rows[:] = start.rows[index][number].to(rows)
        if added is not None:
            own = None if start is None else start.added.get(index)
            if own is not None:
                before = rows[0].cpu().double() - own
            else:
                output = self._output if start is None else None
                plain = rows[0] if output is None else self._forward.by_position(output)[0]
                before = plain.cpu().double()
            rows[0] = (before + added).to(rows)
        for item, patch in enumerate(self._patches if puts else ()):
            values = patch.source.at(index, patch.positions)[number]
            rows[item, patch.positions.to(rows.device)] = values.to(rows)
        return made
