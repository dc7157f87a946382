"""One hooked forward pass: hands out the residual stream row by row while it runs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from engine.anatomy.hooks import evaluating, hooked
from engine.anatomy.parts import ModelParts
from engine.anatomy.replay import Replay
from engine.anatomy.tail import RowStream, Tail
from engine.anatomy.watching import logits_of, output_stream
from engine.errors import Cancelled, CannotRead
from engine.passes.positions import Positions, attention_of, resolve
from engine.system.transfers import sent

LOGITS_TO_KEEP = "logits_to_keep"
"""What transformers calls the positions whose logits a model is to compute."""

OnRow = Callable[[int, RowStream], None]
"""Called with the row's number and what it is read from, while the pass runs."""


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
        self._whole_stream: Tensor | None = None
        self._memory: dict[nn.Module, list[Any]] = {}
        self.cancelled = threading.Event()
        self.in_tail = threading.Event()
        self.tail_lock = threading.Lock()
        self.places: Tensor | None = None
        """Absolute positions [batch, n], known once the first layer has been entered."""
        self.length = 0
        """Positions of the sequence, known with `places`."""

    def run(self, on_row: OnRow, on_tail: Callable[[], None] = lambda: None) -> Tensor:
        """Run the pass in the calling thread; the model's own logits, [batch * n, vocabulary].

        `on_tail` is called when the last layer has run and the tail is about to, which takes long
        where the vocabulary is large and the sequence long.

        Raises Cancelled within one layer of `cancelled` being set, IndexError for a position out
        of range. Hooks are removed in every case.
        """
        self._thread = threading.get_ident()
        self._on_row, self._on_tail = on_row, on_tail
        before: dict[nn.Module, Any] = {}
        after: dict[nn.Module, Any] = {}
        for index, layer in enumerate(self._layers):
            before[layer] = self._layer_watch(index)
            if any(self.parts.notes[index + 1 :]):
                after[layer] = self._after_layer
        if isinstance(self._tail, Replay):
            after[self._tail.layers[-1]] = self._after_last_layer
            after.update(self._tail.memory_hooks(self._memory))
        else:
            module, slot = self._tail.entry
            before[module] = self._tail_watch(slot)
        inputs = self.inputs
        if self._asked is not None:
            assert isinstance(self._tail, Tail)
            # They pick from what the head gets, which may be on another device than the inputs.
            inputs = {**inputs, LOGITS_TO_KEEP: sent(self._asked, self._tail.device)}
        with evaluating(self.model), hooked(before, after):
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
        return isinstance(self._tail, Replay)

    def project(self, rows: Sequence[RowStream], norm: bool = True) -> Tensor:
        """Rows to float32 logits [all their positions, vocabulary], also while the pass runs."""
        with self.reading():
            if isinstance(self._tail, Tail):
                return self._tail.logits(rows, norm)
            if self._whole_stream is None:
                raise RuntimeError("no layer has been entered yet")
            return self._tail.logits(rows, self.inputs, self._memory, self._whole_stream)

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
            stack.enter_context(torch.no_grad())
            yield

    def evaluating(self) -> AbstractContextManager[None]:
        """The model in eval mode, for reading when the pass has ended."""
        return evaluating(self.model)

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
            if isinstance(self._tail, Replay):
                self._whole_stream = stream
            others = () if isinstance(self._tail, Replay) else self._tail.companion_slots
            picked = RowStream(
                self._pick(stream),
                tuple(self._pick(other.get(args, kwargs)) for other in others),
                self._left if self.parts.notes[index] else None,
            )
            # Layers that this pass skips leave the stream as it is.
            while self._next_row <= index:
                self._hand_out(self._next_row, picked)

        return entered

    def _tail_watch(self, slot: Any) -> Any:
        def entered(module: nn.Module, args: Any, kwargs: Any) -> None:
            if self._of_the_pass() and self.places is not None:
                if self.cancelled.is_set():
                    raise Cancelled("cancelled")
                self._on_tail()
                self.in_tail.set()
                with self.tail_lock:
                    pass
                assert isinstance(self._tail, Tail)
                others = self._tail.steps[0].companion_slots if self._tail.steps else ()
                self._last = RowStream(
                    self._pick(slot.get(args, kwargs)),
                    tuple(self._pick(other.get(args, kwargs)) for other in others),
                )

        return entered

    def _after_layer(self, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        if self._of_the_pass():
            self._left = self._pick(output_stream(output))

    def _after_last_layer(self, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        if self._of_the_pass():
            self._last = RowStream(self._pick(output_stream(output)))

    def _pick(self, stream: Tensor) -> Tensor:
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
