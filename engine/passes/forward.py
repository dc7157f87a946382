"""One hooked forward pass, which hands out the residual stream row by row while it runs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from engine.anatomy.columns import Columns
from engine.anatomy.hooks import Slot, computing, evaluating, hooked, shallow_copy, slots
from engine.anatomy.parts import ModelParts
from engine.anatomy.tail import PassMemory, RowStream
from engine.anatomy.watching import logits_in, output_stream
from engine.errors import CannotRead
from engine.passes.edits import Attached
from engine.passes.ending import end_backward_if, end_if
from engine.passes.model_state import ModelState, Place
from engine.passes.positions import Positions, attention_of, resolve
from engine.passes.prefix_cache import CACHE, USE_CACHE, GoingOn, Leaving, is_cache, record_past
from engine.passes.whole_streams import WholeStreams
from engine.system.transfers import sent

LOGITS_TO_KEEP = "logits_to_keep"
"""transformers' name for the argument that limits which positions' logits a model computes."""

OnRow = Callable[[int, RowStream], None]
"""f(row number, its stream), called while the pass runs."""
Project = Callable[[Sequence[RowStream]], Tensor]
"""f(rows) -> their float32 logits [positions of all rows, vocabulary]."""
ReadColumns = Callable[[Sequence[RowStream]], Columns]
"""f(rows) -> their logits, to be computed a part of the vocabulary at a time."""


class Forward:
    """One pass of a model, read at the given positions of every batch item."""

    def __init__(
        self,
        model: nn.Module,
        parts: ModelParts,
        inputs: Mapping[str, Any],
        positions: Positions,
        attention: Tensor | None = None,
        use_logits_to_keep: bool = False,
        whole: WholeStreams | None = None,
        inference: bool = False,
        leaving: Leaving | None = None,
        going_on: GoingOn | None = None,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        """`whole` gets the streams of a batch of one, at all positions or at those that are read.

        With `leaving`, the pass leaves its keys and values in `cache`. With `going_on`, which needs
        it, the tokens at the start of every item are taken from a cache, and only those that follow
        are run; `positions` count along the whole sequence, and `whole` gets what is run.

        `attention` is `attention_of(inputs)`, for callers who know it before inputs are moved.

        `use_logits_to_keep` lets the model compute only the logits of the positions that are read;
        it needs an attention mask, and a model that takes `logits_to_keep`. `inference` lets it run
        in torch's inference mode: see `engine.passes.inference`. `stop` is asked in the thread of
        the pass; another thread sets `cancelled`.
        """
        self.model = model
        self.parts = parts
        self._tail = parts.tail
        self._layers = parts.layers
        self.inputs = dict(inputs)
        self._positions = positions
        self._attention = attention_of(inputs) if attention is None else attention
        self._indices: dict[torch.device, tuple[Tensor, Tensor]] = {}
        self.going_on = going_on
        self._logits_to_keep: Tensor | None = None
        """The places among those that are run whose logits the model computes."""
        if use_logits_to_keep and self._attention is not None:
            batch, length = self._attention.shape
            # The mask does not cover features that a model puts in front of the tokens.
            if int(torch.as_tensor(positions).max()) < length:
                wanted = resolve(positions, self._attention, batch, length)
                self._logits_to_keep = wanted.unique() - self._skipped
        self._next_row = 0
        self._thread = 0
        self._reading = False
        self.whole = whole
        self._inference = inference
        self._leaving = leaving
        self.cache: Any = None
        """The keys and values of the whole sequence once the pass has ended, if it was to leave
        them and the model returns them."""
        self.left: dict[Place, Tensor | None] = {}
        """What the pass has left on the model's modules beside them."""
        self._output_before: Tensor | None = None
        """The output of the previous layer, where the next row may have an addition to it."""
        self._last: RowStream | None = None
        self._whole_last = RowStream(torch.empty(0))
        self._places = torch.empty(0, dtype=torch.int64)
        """Where the positions are among those that are run, int64 [batch, n]."""
        self._position: int | None = None
        """The place that is read, if it is the only one of a batch of one."""
        self._memory = PassMemory(self.inputs)
        self._gradients = False
        self._stop = stop
        self.cancelled = threading.Event()
        self.in_tail = threading.Event()
        self.tail_lock = threading.Lock()
        self.absolute_positions: Tensor | None = None
        """int64 [batch, n], on the CPU; known once the first layer has been entered."""
        self.length = 0
        """Length of the sequence, known at the same time."""

    def run(
        self,
        on_row: OnRow,
        on_tail: Callable[[], None] = lambda: None,
        attached: Sequence[Attached] = (),
        gradients: bool = False,
        on_logits: Callable[[Tensor], None] = lambda logits: None,
    ) -> Tensor:
        """Run the pass in the calling thread and return the model's own logits at the positions,
        float32 [batch * n, vocabulary].

        `on_row` is called with rows 0..L in order, and `on_logits` with what is returned, still in
        eval mode. `on_tail` is called between the last layer and the tail, which takes long if the
        vocabulary is large and the sequence long. `attached` are watchers and editors, see
        `engine.passes.edits`. With `gradients`, the logits, the streams of the rows and what
        `project` makes of them carry their autograd graph; the caller's gradient mode and the
        parameters' `requires_grad` stay as they are.

        Raises Cancelled within one layer after `cancelled` is set or `stop()` is true (one of those
        outside the decoder, too), and so does a backward pass from what is returned; IndexError for
        a position out of range, CannotRead if the model returns no logits, and whatever an attached
        function raises. Hooks and patches are removed in every case.
        """
        self._thread = threading.get_ident()
        self._on_row, self._on_tail = on_row, on_tail
        self._gradients = gradients
        before, after = self._watches()
        inputs = self.inputs
        if self._leaving is not None and USE_CACHE in inputs:
            inputs = {**inputs, USE_CACHE: True}
        with evaluating(self.model, gradients, self._inference):
            with ExitStack() as stack:
                for each in attached:
                    stack.enter_context(each.attached(self._of_the_pass))
                # The hooks of rows run after those of editors, so that rows show edited streams.
                stack.enter_context(hooked(before, after))
                if self._leaving is not None:
                    stack.enter_context(self._in_state(self._leaving.state))
                if self.going_on is not None:
                    inputs = self.going_on.inputs(inputs)
                if self._logits_to_keep is not None:
                    # The model indexes the head's input, which may be on another device.
                    kept = sent(self._logits_to_keep, self._tail.device)
                    inputs = {**inputs, LOGITS_TO_KEEP: kept}
                output = self.model(**inputs)
                if self._leaving is not None:
                    self._take_cache(output)
            self._end_if_cancelled()
            logits = logits_in(output)
            if self._last is None or self.absolute_positions is None:
                raise RuntimeError("the pass never reached the layers that were found before")
            is_cut = self._whole_last.stream.shape[1] != self.length - self._skipped
            if self._logits_to_keep is not None and is_cut:
                raise CannotRead(
                    "the model cuts the stream to its logits' positions before its tail"
                )
            while self._next_row <= len(self._layers):
                self._hand_out(self._next_row, self._last, self._whole_last)
            read = self._at_positions(logits)
            if self.whole is not None:
                if self.whole.takes_all:
                    places = torch.arange(logits.shape[1]) + self._skipped
                    self.whole.end(logits[0], places)
                else:
                    self.whole.end(read, self.absolute_positions[0])
            read = read.float()
            on_logits(read)
            return read

    @property
    def _skipped(self) -> int:
        """How many tokens at the start are not run."""
        return 0 if self.going_on is None else self.going_on.count

    @contextmanager
    def _in_state(self, state: ModelState) -> Iterator[None]:
        """A context for the pass in which the model's state is that of the prompt that is read."""
        if self.going_on is None:
            with state.observed():
                yield
            self.left = state.now()
        else:
            self.left = dict(self.going_on.state)
            with state.put_back(self.left):
                yield

    def _take_cache(self, output: Any) -> None:
        found = output.get(CACHE) if isinstance(output, Mapping) else None
        self.cache = found if is_cache(found) else None

    def first_attended(self, batch: int) -> list[int]:
        """The first attended token of each item, once the first layer has been entered."""
        if self._attention is None:
            return [0] * batch
        uncovered = self.length - self._attention.shape[1]
        firsts = self._attention.int().argmax(-1).tolist()
        return [first + uncovered if first else 0 for first in firsts]

    @property
    def keeps_logits(self) -> bool:
        """Whether the model is asked for the logits of the positions that are read alone."""
        return self._logits_to_keep is not None

    @property
    def replays(self) -> bool:
        """Whether rows are read by running the model again."""
        return self._tail.replays

    @property
    def memory(self) -> PassMemory:
        """What a replay needs of this pass, once it has run."""
        return self._memory

    def project(self, rows: Sequence[RowStream], norm: bool = True) -> Tensor:
        """The float32 logits of `rows`, [positions of all rows, vocabulary]; also mid-pass."""
        with self.reading():
            return self._tail.logits(rows, norm, self._memory)

    def projecting_later(self, norm: bool = True) -> Project:
        """A `project` to call after the pass; it only keeps alive what the tail needs.

        The caller must put the model into eval mode and make sure that no other pass runs.
        """
        memory = self._memory if self._tail.replays else None
        return partial(self._tail.logits, norm=norm, memory=memory)

    def columns_later(self, norm: bool = True) -> ReadColumns:
        """As `projecting_later`, for reading a part of the vocabulary at a time."""
        memory = self._memory if self._tail.replays else None
        return partial(self._tail.columns, norm=norm, memory=memory)

    @contextmanager
    def reading(self) -> Iterator[None]:
        """A context in which the lens calls the model's modules unseen by the hooks of the pass."""
        with ExitStack() as stack:
            stack.enter_context(self.tail_lock)
            inside = threading.get_ident() == self._thread
            if inside:
                self._reading = True
                stack.callback(setattr, self, "_reading", False)
            stack.enter_context(computing(self._gradients, self._inference))
            yield

    def by_position(self, stream: Tensor) -> Tensor:
        """A stream in the model's layout as a view [batch, positions, *rest]."""
        axis = self._tail.position_axis
        return stream if axis == 1 else stream.movedim((axis - 1, axis), (0, 1))

    def in_layout(self, stream: Tensor) -> Tensor:
        """The reverse of `by_position`."""
        axis = self._tail.position_axis
        return stream if axis == 1 else stream.movedim((0, 1), (axis - 1, axis))

    def evaluating(self) -> AbstractContextManager[None]:
        """A context with the model in eval mode, for reading after the pass."""
        return evaluating(self.model, self._gradients)

    def _of_the_pass(self) -> bool:
        return threading.get_ident() == self._thread and not self._reading

    def _watches(self) -> tuple[dict[nn.Module, Any], dict[nn.Module, Any]]:
        """What to call before, and what after, every call of which module."""
        before: dict[nn.Module, Any] = dict.fromkeys(self.parts.outside, self._outside_watch)
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
        return before, after

    def _layer_watch(self, index: int) -> Any:
        # This runs before every layer: on an accelerator the pass waits for each of its lines.
        stream_slot, note = self.parts.stream_slot, self.parts.notes[index]
        companion_slots, replays = self._tail.companion_slots, self._tail.replays

        def entered(module: nn.Module, args: Any, kwargs: Any) -> None:
            if not self._of_the_pass():
                return
            self._end_if_cancelled()
            stream = stream_slot.get(args, kwargs)
            if self._gradients:
                end_backward_if(self.cancelled, stream)
            if self.absolute_positions is None:
                axis = self._tail.position_axis
                batch, self.length = stream.shape[axis - 1], stream.shape[axis] + self._skipped
                self.absolute_positions = resolve(
                    self._positions, self._attention, batch, self.length
                )
                self._places = self.absolute_positions - self._skipped
                if self._places.numel() == 1:
                    self._position = int(self._places)
                if self._leaving is not None and self._leaving.past:
                    record_past(args, kwargs)
            if replays:
                self._memory.stream = stream
            before = self._output_before if note else None
            read = self._all_positions(stream, companion_slots, args, kwargs, before)
            picked = self._picked(read)
            if self.whole is not None and self._next_row == 0:
                kept = read.stream[0] if self.whole.takes_all else picked.stream
                self.whole.begin(kept, len(self._layers), self._bytes_of_logits)
            # Layers that this pass skipped left the stream unchanged: their rows are this one.
            while self._next_row <= index:
                self._hand_out(self._next_row, picked, read)

        return entered

    def _end_if_cancelled(self) -> None:
        if self._stop():
            self.cancelled.set()
        end_if(self.cancelled)

    def _outside_watch(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        if not self._of_the_pass():
            return
        self._end_if_cancelled()
        if self._gradients:
            slot = next(slots(args, kwargs), None)
            end_backward_if(self.cancelled, None if slot is None else slot.get(args, kwargs))

    def _tail_watch(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        if not self._of_the_pass() or self.absolute_positions is None:
            return
        self._end_if_cancelled()
        self._on_tail()
        self.in_tail.set()
        with self.tail_lock:
            pass
        entry = self._tail.entry
        assert entry.slot is not None
        self._end_with(
            self._all_positions(entry.slot.get(args, kwargs), entry.companion_slots, args, kwargs)
        )

    def _after_layer(self, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        if self._of_the_pass():
            # A copy: the model may add to it in place before the next layer.
            self._output_before = output_stream(output).clone()

    def _after_last_layer(self, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        if self._of_the_pass():
            self._end_with(self._all_positions(output_stream(output)))

    def _remember(self, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        if self._of_the_pass():
            self._memory.answers.setdefault(module, []).append(shallow_copy(output))

    @property
    def _bytes_of_logits(self) -> int:
        """Of one position, if the model declares its vocabulary; else 0."""
        config: Any = getattr(self.model, "config", None)
        text = config.get_text_config(decoder=True) if hasattr(config, "get_text_config") else None
        size = getattr(text, "vocab_size", 0)
        return size * self.parts.dtype.itemsize if isinstance(size, int) else 0

    def _all_positions(
        self,
        stream: Tensor,
        companions: Sequence[Slot] = (),
        args: Any = (),
        kwargs: Any = None,
        before: Tensor | None = None,
    ) -> RowStream:
        """What a row is read from at all positions: views [batch, positions, *rest]."""
        if not companions and before is None:
            return RowStream(self.by_position(stream))
        return RowStream(
            self.by_position(stream),
            tuple(self.by_position(place.get(args, kwargs)) for place in companions),
            None if before is None else self.by_position(before),
        )

    def _picked(self, read: RowStream) -> RowStream:
        """The same at the positions that are read: copies [batch * n, *rest]."""
        return read.mapped(self._index)

    def _end_with(self, read: RowStream) -> None:
        """Note what enters the tail; a later call replaces an earlier one."""
        self._last, self._whole_last = self._picked(read), read

    def _index(self, rows: Tensor) -> Tensor:
        """[batch, positions, *rest] -> [batch * n, *rest]."""
        if self._position is not None:
            # A plain slice needs no index tensor on the device, so nothing waits for a copy.
            return rows[0, self._position : self._position + 1].clone()
        if rows.device not in self._indices:
            self._indices[rows.device] = _indices(self._places, rows.device)
        return rows[self._indices[rows.device]].flatten(0, 1)

    def _at_positions(self, logits: Tensor) -> Tensor:
        if self._logits_to_keep is None:
            return self._index(logits)
        if (
            logits.shape[1] != len(self._logits_to_keep)
            or not torch.isin(self._places, self._logits_to_keep).all()
        ):
            raise CannotRead("the model returned the logits of other positions than asked for")
        if self._position is not None:
            return logits[0]
        found = torch.searchsorted(self._logits_to_keep, self._places)
        return logits[_indices(found, logits.device)].flatten(0, 1)

    def _hand_out(self, row: int, read: RowStream, everywhere: RowStream) -> None:
        self._next_row = row + 1
        if self.whole is not None:
            self.whole.take(_of_one(everywhere) if self.whole.takes_all else read)
        self._on_row(row, read)


def _of_one(read: RowStream) -> RowStream:
    """The only item of a batch of one: [1, positions, *rest] -> [positions, *rest]."""
    return read.mapped(lambda tensor: tensor[0])


def _indices(places: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
    """Two index tensors [batch, n] that pick `places` [batch, n] from [batch, positions, ...]."""
    items = torch.arange(len(places)).unsqueeze(1).expand_as(places)
    both = sent(torch.stack([items, places]), device)
    return both[0], both[1]
