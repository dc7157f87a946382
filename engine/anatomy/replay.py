"""Reads rows by running the whole model again, for models whose tail cannot be taken apart."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from engine.anatomy.columns import Columns, WholeColumns
from engine.anatomy.hooks import Slot, answering, evaluating, shallow_copy, with_first_tensor
from engine.anatomy.tail import Entry, OpenTail, PassMemory, RowStream, TailMethod
from engine.anatomy.watching import Anatomy, emptied, logits_in, output_stream
from engine.errors import CannotRead


class ReplayedTail:
    """A `Tail` that is the model itself: its layers are bypassed, and the row's stream replaces
    the output of the last one.

    Modules before the first layer return what they returned in the pass that is being read. Rows
    are packed one per sequence position, which is exact where the tail treats positions
    independently.
    """

    method: ClassVar[TailMethod] = "replay"
    replays: ClassVar[bool] = True
    takes_batches: ClassVar[bool] = False
    companion_slots: ClassVar[tuple[Slot, ...]] = ()
    has_columns: ClassVar[bool] = False

    def __init__(self, model: nn.Module, anatomy: Anatomy) -> None:
        self._model = model
        self._layers = tuple(
            layer
            for layer, stream in zip(anatomy.layers, anatomy.streams, strict=True)
            if stream is not None
        )
        """The layers that the watched pass ran."""
        self._slot = anatomy.stream_slot
        self.position_axis = anatomy.position_axis
        self.device = output_stream(anatomy.last_output).device
        self.entry = Entry(self._layers[-1], None)
        self.remembered = tuple(dict.fromkeys(anatomy.before_layers))
        self._last_output = emptied(anatomy.last_output)

    def opened(self) -> OpenTail | str:
        """See `Tail.opened`: never possible."""
        return "its tail cannot be taken apart: rows are read by running the model itself"

    def refuse_norm_off(self) -> None:
        """Always raises CannotRead: a replay runs the final norm too."""
        raise CannotRead("norm off: the tail of this model cannot be taken apart")

    def described(self, names: Mapping[nn.Module, str]) -> list[tuple[str, str]]:
        """See `Tail.described`."""
        return [("tail", "replayed: the model itself runs with its layers bypassed")]

    def logits(
        self, rows: Sequence[RowStream], norm: bool = True, memory: PassMemory | None = None
    ) -> Tensor:
        """See `Tail.logits`; raises CannotRead with `norm` off."""
        if not norm:
            self.refuse_norm_off()
        if memory is None or memory.stream is None:
            raise RuntimeError("a replay needs the memory of a pass that has entered a layer")
        like = memory.stream
        streams = torch.cat([row.stream.to(like.device) for row in rows])  # [n, *rest]
        positions = like.shape[self.position_axis]
        chunks = [
            self._packed(chunk, memory, like)[0, : len(chunk)].float()
            for chunk in streams.split(positions)
        ]
        return torch.cat(chunks)  # [n, vocabulary]

    def columns(
        self, rows: Sequence[RowStream], norm: bool = True, memory: PassMemory | None = None
    ) -> Columns:
        """See `Tail.columns`."""
        return WholeColumns(self.logits(rows, norm, memory))

    def _packed(self, streams: Tensor, memory: PassMemory, like: Tensor) -> Tensor:
        carrier = like.clone()
        axis = self.position_axis
        rows = carrier.movedim((axis - 1, axis), (0, 1))  # [batch, positions, *rest], a view
        rows[0, : len(streams)] = streams.to(rows)
        return self.whole(carrier, memory)

    def whole(self, stream: Tensor, memory: PassMemory) -> Tensor:
        """The model's logits [batch, positions, vocabulary] when its last layer returns `stream`.

        Runs in the caller's gradient mode.
        """
        answers: dict[nn.Module, Callable[..., Any]] = {}
        for module in self.remembered:
            if module in memory.answers:
                recorded = iter(memory.answers[module])
                answers[module] = lambda *_, recorded=recorded, **__: shallow_copy(next(recorded))

        def bypass(*args: Any, **kwargs: Any) -> Any:
            return self._wrapped(self._slot.get(args, kwargs))

        for layer in self._layers[:-1]:
            answers[layer] = bypass
        answers[self._layers[-1]] = lambda *_, **__: self._wrapped(stream)
        with evaluating(self._model, gradients=torch.is_grad_enabled()), answering(answers):
            return logits_in(self._model(**memory.inputs))

    def _wrapped(self, stream: Tensor) -> Any:
        return with_first_tensor(self._last_output, stream)
