"""Reading rows by running the model itself, where its tail cannot be taken apart."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from engine.anatomy.hooks import Slot, answering, evaluating, shallow_copy, with_first_tensor
from engine.anatomy.tail import Entry, PassMemory, RowStream, TailMethod
from engine.anatomy.watching import Anatomy, logits_of, output_stream
from engine.errors import CannotRead


class ReplayedTail:
    """A `Tail` that is the model itself: its layers are bypassed, and a stream replaces what the
    last one returns.

    Everything before the first layer answers from the memory of the pass that is being read. Rows
    are packed one per position: exact where the tail works position by position.
    """

    method: ClassVar[TailMethod] = "replay"
    replays: ClassVar[bool] = True
    takes_batches: ClassVar[bool] = False
    companion_slots: ClassVar[tuple[Slot, ...]] = ()

    def __init__(self, model: nn.Module, anatomy: Anatomy) -> None:
        self._model = model
        self._layers = tuple(
            layer
            for layer, stream in zip(anatomy.layers, anatomy.streams, strict=True)
            if stream is not None
        )
        """Those that the watched pass ran."""
        self._slot = anatomy.stream_slot
        self.position_axis = anatomy.position_axis
        self.device = output_stream(anatomy.last_output).device
        self.entry = Entry(self._layers[-1], None)
        self.remembered = tuple(dict.fromkeys(anatomy.before_layers))
        self._last_output = _emptied(anatomy.last_output)

    def refuse_norm_off(self) -> None:
        """Raise CannotRead: the model runs with all that it has."""
        raise CannotRead("norm off: the tail of this model cannot be taken apart")

    def described(self, names: Mapping[nn.Module, str]) -> list[tuple[str, str]]:
        """As `Tail.described`."""
        return [("tail", "replayed: the model itself runs with its layers passed over")]

    def logits(
        self, rows: Sequence[RowStream], norm: bool = True, memory: PassMemory | None = None
    ) -> Tensor:
        """As `Tail.logits`; raises CannotRead with `norm` off."""
        if not norm:
            self.refuse_norm_off()
        if memory is None or memory.stream is None:
            raise RuntimeError("a replay needs the memory of a pass that has entered a layer")
        like = memory.stream
        streams = torch.cat([row.stream.to(like.device) for row in rows])  # [n, *rest]
        positions = like.shape[self.position_axis]
        parts = [
            self._packed(part, memory, like)[0, : len(part)].float()
            for part in streams.split(positions)
        ]
        return torch.cat(parts)

    def _packed(self, streams: Tensor, memory: PassMemory, like: Tensor) -> Tensor:
        carrier = like.clone()
        axis = self.position_axis
        rows = carrier.movedim((axis - 1, axis), (0, 1))  # [batch, positions, *rest], a view
        rows[0, : len(streams)] = streams.to(rows)
        return self.whole(carrier, memory)

    def whole(self, stream: Tensor, memory: PassMemory) -> Tensor:
        """The model's logits [batch, positions, vocabulary] where `stream` is what its last layer
        returns; the gradient mode is the caller's."""
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
            return logits_of(self._model(**memory.inputs))

    def _wrapped(self, stream: Tensor) -> Any:
        return with_first_tensor(self._last_output, stream)


def _emptied(output: Any) -> Any:
    """The last layer's output without its tensors' memory: only the structure is needed."""
    stream = output_stream(output)
    return with_first_tensor(output, stream[..., :0].clone())
