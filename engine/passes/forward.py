"""One hooked forward pass: hands out the residual stream row by row while it runs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from engine.anatomy.hooks import Slot, computing, evaluating, hooked, shallow_copy
from engine.anatomy.parts import ModelParts
from engine.anatomy.tail import PassMemory, RowStream
from engine.anatomy.watching import logits_of, output_stream
from engine.errors import Cancelled, CannotRead
from engine.passes.edits import Attached
from engine.passes.positions import Positions, attention_of, resolve
from engine.system.transfers import sent

LOGITS_TO_KEEP = "logits_to_keep"
"""What transformers calls the positions whose logits a model is to compute."""

OnRow = Callable[[int, RowStream], None]
"""Called with the row's number and what it is read from, while the pass runs."""
Project = Callable[[Sequence[RowStream]], Tensor]
"""From rows to float32 logits [all their positions, vocabulary]."""


class Forward:
    """One pass of one model, read at the given positions of every batch item."""

    def __init__(
        self,
        model: nn.Module,
        parts: ModelParts,
        inputs: Mapping[str, Any],
        positions: Positions,
        attention: Tensor | None = None,
        read_alone: bool = False,
    ) -> None:
        """`attention` is `attention_of` the inputs, where it is known before they are moved; with
        it, and for a model that can do so, `read_alone` asks for the logits of the positions that
        are read and no others.
        """
        self.model = model
        self.parts = parts
        self._tail = parts.tail
        self._layers = parts.layers
        self.inputs = dict(inputs)
        self._positions = positions
        self._attention = attention_of(inputs) if attention is None else attention
        self._indices: dict[torch.device, tuple[Tensor, Tensor]] = {}
        self._asked: Tensor | None = None
        if read_alone and self._attention is not None:
            batch, length = self._attention.shape
            self._asked = resolve(positions, self._attention, batch, length).unique()
        self._next_row = 0
        self._thread = 0
        self._reading = False
        self._left: Tensor | None = None
        self._last: RowStream | None = None
        self._memory = PassMemory(self.inputs)
        self._gradients = False
        self.cancelled = threading.Event()
        self.in_tail = threading.Event()
        self.tail_lock = threading.Lock()
        self.places: Tensor | None = None
        """Absolute positions [batch, n], known once the first layer has been entered."""
        self.length = 0
        """Positions of the sequence, known with `places`."""

    def run(
        self,
        on_row: OnRow,
        on_tail: Callable[[], None] = lambda: None,
        attached: Sequence[Attached] = (),
        gradients: bool = False,
    ) -> Tensor:
        """Run the pass in the calling thread; the model's own logits, [batch * n, vocabulary].

        `on_tail` is called when the last layer has run and the tail is about to, which takes long
        where the vocabulary is large and the sequence long. `attached` are watchers and editors,
        see `engine.passes.edits`. With `gradients` the logits, the rows' streams and what `project`
        makes of them carry their graph; the caller's gradient mode and the parameters'
        `requires_grad` stay as they are.

        Raises Cancelled within one layer of `cancelled` being set, IndexError for a position out
        of range, and whatever an attached function raises. Hooks and patches are removed in every
        case.
        """
        self._thread = threading.get_ident()
        self._on_row, self._on_tail = on_row, on_tail
        self._gradients = gradients
        before: dict[nn.Module, Any] = {}
        after: dict[nn.Module, Any] = {}
        for index, layer in enumerate(self._layers):
            before[layer] = self._layer_watch(index)
            if any(self.parts.notes[index + 1 :]):
                after[layer] = self._after_layer
        entry = self._tail.entry
        if entry.slot is None:
            after[entry.module] = self._after_last_layer
        else:
            before[entry.module] = self._tail_watch
        after.update(dict.fromkeys(self._tail.remembered, self._remember))
        inputs = self.inputs
        if self._asked is not None:
            # They pick from what the head gets, which may be on another device than the inputs.
            inputs = {**inputs, LOGITS_TO_KEEP: sent(self._asked, self._tail.device)}
        with evaluating(self.model, gradients):
            with ExitStack() as stack:
                for each in attached:
                    stack.enter_context(each.attached(self._of_the_pass))
                # Rows are what the model goes on with: their hooks run after those of the editors.
                stack.enter_context(hooked(before, after))
                output = self.model(**inputs)
            if self.cancelled.is_set():
                raise Cancelled("cancelled")
            logits = logits_of(output)
            if self._last is None or self.places is None:
                raise RuntimeError("the pass never reached the layers that were found before")
            while self._next_row <= len(self._layers):
                self._hand_out(self._next_row, self._last)
            return self._own(logits)

    @property
    def replays(self) -> bool:
        """Whether rows are read by running the model again."""
        return self._tail.replays

    def project(self, rows: Sequence[RowStream], norm: bool = True) -> Tensor:
        """Rows to float32 logits [all their positions, vocabulary], also while the pass runs."""
        with self.reading():
            return self._tail.logits(rows, norm, self._memory)

    def projecting_later(self, norm: bool = True) -> Project:
        """As `project`, for when the pass has ended: holds no more of it than the tail needs. The
        caller sees to eval mode, and that no other pass of the model runs."""
        memory = self._memory if self._tail.replays else None
        return partial(self._tail.logits, norm=norm, memory=memory)

    def note(self, row: int, read: RowStream) -> str | None:
        """What this row means here where it is not the truncated model's."""
        note = self.parts.notes[row]
        left = read.left
        if left is not None and torch.equal(left, read.stream.to(left.device)):
            return None  # nothing was added at these positions
        return note

    @contextmanager
    def reading(self) -> Iterator[None]:
        """The lens's own use of the model's modules, which the pass's hooks must not record."""
        with ExitStack() as stack:
            stack.enter_context(self.tail_lock)
            inside = threading.get_ident() == self._thread
            if inside:
                self._reading = True
                stack.callback(setattr, self, "_reading", False)
            stack.enter_context(computing(self._gradients))
            yield

    def evaluating(self) -> AbstractContextManager[None]:
        """The model in eval mode, for reading when the pass has ended."""
        return evaluating(self.model, self._gradients)

    def _of_the_pass(self) -> bool:
        return threading.get_ident() == self._thread and not self._reading

    def _layer_watch(self, index: int) -> Any:
        def entered(module: nn.Module, args: Any, kwargs: Any) -> None:
            if not self._of_the_pass():
                return
            if self.cancelled.is_set():
                raise Cancelled("cancelled")
            stream = self.parts.stream_slot.get(args, kwargs)
            if self.places is None:
                axis = self._tail.position_axis
                batch, self.length = stream.shape[axis - 1], stream.shape[axis]
                self.places = resolve(self._positions, self._attention, batch, self.length)
            if self._tail.replays:
                self._memory.stream = stream
            picked = RowStream(
                self._pick(stream),
                self._companions(self._tail.companion_slots, args, kwargs),
                self._left if self.parts.notes[index] else None,
            )
            # Layers that this pass skips leave the stream as it is.
            while self._next_row <= index:
                self._hand_out(self._next_row, picked)

        return entered

    def _tail_watch(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        if not self._of_the_pass() or self.places is None:
            return
        if self.cancelled.is_set():
            raise Cancelled("cancelled")
        self._on_tail()
        self.in_tail.set()
        with self.tail_lock:
            pass
        entry = self._tail.entry
        assert entry.slot is not None
        self._last = RowStream(
            self._pick(entry.slot.get(args, kwargs)),
            self._companions(entry.companion_slots, args, kwargs),
        )

    def _after_layer(self, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        if self._of_the_pass():
            self._left = self._pick(output_stream(output))

    def _after_last_layer(self, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        if self._of_the_pass():
            self._last = RowStream(self._pick(output_stream(output)))

    def _remember(self, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        if self._of_the_pass():
            self._memory.answers.setdefault(module, []).append(shallow_copy(output))

    def _companions(self, places: Sequence[Slot], args: Any, kwargs: Any) -> tuple[Tensor, ...]:
        return tuple(self._pick(place.get(args, kwargs)) for place in places)

    def _pick(self, stream: Tensor) -> Tensor:
        """[batch, positions, *rest], as the model lays it out, to [batch * n, *rest]."""
        axis = self._tail.position_axis
        rows = stream.movedim((axis - 1, axis), (0, 1))
        return self._rows_at_places(rows)

    def _rows_at_places(self, rows: Tensor) -> Tensor:
        assert self.places is not None
        if self.places.numel() == 1:
            # A plain slice: no index tensor to copy to the device, so nothing to wait for.
            return rows[0, int(self.places)].unsqueeze(0).clone()
        if rows.device not in self._indices:
            self._indices[rows.device] = _indices(self.places, rows.device)
        return rows[self._indices[rows.device]].flatten(0, 1)

    def _own(self, logits: Tensor) -> Tensor:
        if self._asked is None:
            return self._rows_at_places(logits).float()
        assert self.places is not None
        if logits.shape[1] != len(self._asked) or not torch.isin(self.places, self._asked).all():
            raise CannotRead("the model gives other positions' logits than it was asked for")
        found = torch.searchsorted(self._asked, self.places)
        return logits[_indices(found, logits.device)].flatten(0, 1).float()

    def _hand_out(self, row: int, read: RowStream) -> None:
        self._next_row = row + 1
        self._on_row(row, read)


def _indices(places: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
    """What picks `places` [batch, n] out of [batch, positions, ...]."""
    items = torch.arange(len(places)).unsqueeze(1).expand_as(places)
    both = sent(torch.stack([items, places]), device)
    return both[0], both[1]
