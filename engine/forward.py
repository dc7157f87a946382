"""One hooked forward pass: hands out the residual stream row by row while it runs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from engine.anatomy import logits_of, output_stream
from engine.errors import Cancelled
from engine.hooks import evaluating, hooked
from engine.positions import Positions, attention_of, resolve
from engine.tail import Replay, Tail

OnRow = Callable[[int, Tensor], None]
"""Called with the row's number and its streams, [batch * n, *rest], while the pass runs."""


class Forward:
    """One pass of one model, read at the given positions of every batch item."""

    def __init__(
        self,
        model: nn.Module,
        layers: tuple[nn.Module, ...],
        tail: Tail | Replay,
        stream_slot: Any,
        inputs: Mapping[str, Any],
        positions: Positions,
    ) -> None:
        self.model = model
        self._layers = layers
        self._tail = tail
        self._slot = stream_slot
        self.inputs = dict(inputs)
        self._positions = positions
        self._attention = attention_of(inputs)
        self._next_row = 0
        self._thread = 0
        self._reading = False
        self._last_stream: Tensor | None = None
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
        if isinstance(self._tail, Replay):
            after[self._tail.layers[-1]] = self._after_last_layer
            after.update(self._tail.memory_hooks(self._memory))
        else:
            module, slot = self._tail.entry
            before[module] = self._tail_watch(slot)
        with evaluating(self.model), hooked(before, after):
            output = self.model(**self.inputs)
        if self.cancelled.is_set():
            raise Cancelled("cancelled")
        logits = logits_of(output)
        if self._last_stream is None or self.places is None:
            raise RuntimeError("the pass never reached the layers that were found before")
        while self._next_row <= len(self._layers):
            self._hand_out(self._next_row, self._last_stream)
        return self._own(logits)

    @property
    def replays(self) -> bool:
        """Whether rows are read by running the model again."""
        return isinstance(self._tail, Replay)

    def project(self, streams: Tensor, norm: bool = True) -> Tensor:
        """Streams [n, *rest] to float32 logits [n, vocabulary], also while the pass runs."""
        with self.reading():
            if isinstance(self._tail, Tail):
                return self._tail.logits(streams, norm)
            if self._whole_stream is None:
                raise RuntimeError("no layer has been entered yet")
            return self._tail.logits(streams, self.inputs, self._memory, self._whole_stream)

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
            stream = self._slot.get(args, kwargs)
            if self.places is None:
                axis = self._tail.position_axis
                batch, self.length = stream.shape[axis - 1], stream.shape[axis]
                self.places = resolve(self._positions, self._attention, batch, self.length)
            if isinstance(self._tail, Replay):
                self._whole_stream = stream
            picked = self._pick(stream)
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
                self._last_stream = self._pick(slot.get(args, kwargs))

        return entered

    def _after_last_layer(self, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        if self._of_the_pass():
            self._last_stream = self._pick(output_stream(output))

    def _pick(self, stream: Tensor) -> Tensor:
        axis = self._tail.position_axis
        rows = stream.movedim((axis - 1, axis), (0, 1))
        return self._rows_at_places(rows)

    def _rows_at_places(self, rows: Tensor) -> Tensor:
        assert self.places is not None
        if self.places.numel() == 1:
            # A plain slice: no index tensor to copy to the device, so nothing to wait for.
            return rows[0, int(self.places)].unsqueeze(0).clone()
        items = torch.arange(len(self.places)).unsqueeze(1).expand_as(self.places)
        return rows[items.to(rows.device), self.places.to(rows.device)].flatten(0, 1)

    def _own(self, logits: Tensor) -> Tensor:
        return self._rows_at_places(logits).float()

    def _hand_out(self, row: int, streams: Tensor) -> None:
        self._next_row = row + 1
        self._on_row(row, streams)
