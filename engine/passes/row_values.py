"""Gives rows of a pass other values, and takes the rows that derivatives are of.

It stands apart from `engine.passes.row_patches`, since it keeps rows within the graph of a backward
pass and changes nothing but the stream, while that copies rows out, with everything else that
layers are given, to begin another pass in the middle.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from engine.anatomy.hooks import Args, Kwargs, Slot, changing, first_float_tensor, with_first_tensor
from engine.errors import CannotRead
from engine.passes.edits import Active
from engine.passes.forward import Forward


@dataclass
class RowValues:
    """An editor (see `engine.passes.edits`) of the rows of a `Forward`.

    A row is what enters its layer, and row L what enters the tail: what the model adds between two
    layers is in it. Tensors that layers pass on beside the stream (`RowStream.companions`) are left
    as they are.
    """

    forward: Forward
    values: Mapping[int, Tensor] = field(default_factory=dict)
    """Row -> what it is replaced by, [batch, positions, *rest]."""
    taken: Collection[int] = ()
    """The rows that are handed out in `rows`."""
    gradients: bool = False
    """Whether `rows` are to be differentiated with respect to."""
    rows: dict[int, Tensor] = field(default_factory=dict)
    """The rows that were taken, in the model's layout. With `gradients` the rest of the pass
    depends on them."""

    @contextmanager
    def attached(self, active: Active) -> Iterator[None]:
        """See `engine.passes.edits.Attached`."""
        self._active = active
        parts = self.forward.parts
        last = len(parts.layers)
        with ExitStack() as stack:
            for row, layer in enumerate(parts.layers):
                if self._watches(row):
                    stack.enter_context(changing(layer, self._entering(row, parts.stream_slot)))
            entry = parts.tail.entry
            if self._watches(last):
                if entry.slot is not None:
                    at_tail = self._entering(last, entry.slot)
                    stack.enter_context(changing(entry.module, at_tail))
                else:
                    stack.enter_context(changing(entry.module, after=self._leaving(last)))
            yield

    def given(self, row: int) -> Tensor:
        """A row that was taken, [batch, positions, *rest]. Raises CannotRead if the pass has not
        come to it."""
        if row not in self.rows:
            raise CannotRead(f"the pass has not run layer {row}")
        return self.forward.by_position(self.rows[row])

    def _watches(self, row: int) -> bool:
        return row in self.taken or row in self.values

    def _entering(self, row: int, slot: Slot) -> Any:
        def entering(module: nn.Module, args: Args, kwargs: Kwargs) -> tuple[Args, Kwargs] | None:
            stream = slot.get(args, kwargs) if self._is_due(row) else None
            made = None if stream is None else self._changed(row, stream)
            return None if made is None else slot.put(args, kwargs, made)

        return entering

    def _leaving(self, row: int) -> Any:
        def leaving(module: nn.Module, args: Args, kwargs: Kwargs, output: Any) -> Any:
            stream = first_float_tensor(output) if self._is_due(row) else None
            made = None if stream is None else self._changed(row, stream)
            return None if made is None else with_first_tensor(output, made)

        return leaving

    def _is_due(self, row: int) -> bool:
        # The module before the tail may also be called before the layers.
        return self._active() and (
            row < len(self.forward.parts.layers) or self.forward.absolute_positions is not None
        )

    def _changed(self, row: int, stream: Tensor) -> Tensor | None:
        """What the module gets instead of the stream; None for the stream itself."""
        value = self.values.get(row)
        if value is not None:
            value = self.forward.in_layout(value).to(stream.device)
            if (value.shape, value.dtype) != (stream.shape, stream.dtype):
                found = f"{list(value.shape)} {value.dtype}"
                raise ValueError(
                    f"row {row} is given {found}, not {list(stream.shape)} {stream.dtype}"
                )
            stream = value
        if row not in self.taken:
            return None if value is None else stream.clone()
        if not self.gradients:
            self.rows[row] = stream.detach().clone()
            return None if value is None else stream.clone()
        kept = stream.clone() if stream.requires_grad else stream.detach().clone()
        kept.requires_grad_()
        self.rows[row] = kept
        # A copy: some layers write into what they are given.
        return kept.clone()
