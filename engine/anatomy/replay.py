"""Reading rows by running the model itself, where its tail cannot be taken apart."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from engine.anatomy.hooks import answering, evaluating, shallow_copy, with_first_tensor
from engine.anatomy.tail import RowStream
from engine.anatomy.watching import Anatomy, logits_of, output_stream
from engine.errors import CannotRead


class Replay:
    """The model itself, its layers bypassed and a stream put in behind the last one.

    Everything ahead of the first layer answers from the memory of the pass that is being read.
    Rows are packed one per position: exact where the tail works position by position.
    """

    method: ClassVar[Literal["replay"]] = "replay"

    def __init__(self, model: nn.Module, anatomy: Anatomy) -> None:
        self._model = model
        self.layers = tuple(
            layer
            for layer, stream in zip(anatomy.layers, anatomy.streams, strict=True)
            if stream is not None
        )
        """Those that the watched pass ran."""
        self._slot = anatomy.stream_slot
        self._before = tuple(dict.fromkeys(anatomy.before_layers))
        self.position_axis = anatomy.position_axis
        self._last_output = _emptied(anatomy.last_output)
        self.active = False

    def refuse_norm_off(self) -> None:
        """Raise CannotRead: the model runs with all that it has."""
        raise CannotRead("norm off: the tail of this model cannot be taken apart")

    def memory_hooks(
        self, memory: dict[nn.Module, list[Any]]
    ) -> dict[nn.Module, Callable[..., None]]:
        """After-call hooks that keep what the modules ahead of the layers answer."""

        def remember(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            if not self.active:
                memory.setdefault(module, []).append(shallow_copy(output))

        return dict.fromkeys(self._before, remember)

    def logits(
        self,
        rows: Sequence[RowStream],
        inputs: Mapping[str, Any],
        memory: Mapping[nn.Module, list[Any]],
        like: Tensor,
    ) -> Tensor:
        """Rows to float32 logits [all their positions, vocabulary]; `like` is a whole stream."""
        streams = torch.cat([row.stream.to(like.device) for row in rows])
        positions = like.shape[self.position_axis]
        parts = [
            self._packed(part, inputs, memory, like)[0, : len(part)].float()
            for part in streams.split(positions)
        ]
        return torch.cat(parts)

    def _packed(
        self,
        streams: Tensor,
        inputs: Mapping[str, Any],
        memory: Mapping[nn.Module, list[Any]],
        like: Tensor,
    ) -> Tensor:
        carrier = like.clone()
        axis = self.position_axis
        rows = carrier.movedim((axis - 1, axis), (0, 1))
        rows[0, : len(streams)] = streams.to(rows)
        return self.whole(carrier, inputs, memory)

    def whole(
        self, stream: Tensor, inputs: Mapping[str, Any], memory: Mapping[nn.Module, list[Any]]
    ) -> Tensor:
        """A whole stream, put in behind the last layer, to the model's logits."""
        answers: dict[nn.Module, Callable[..., Any]] = {}
        for module in self._before:
            if module in memory:
                recorded = iter(memory[module])
                answers[module] = lambda *_, recorded=recorded, **__: shallow_copy(next(recorded))

        def bypass(*args: Any, **kwargs: Any) -> Any:
            return self._wrapped(self._slot.get(args, kwargs))

        for layer in self.layers[:-1]:
            answers[layer] = bypass
        answers[self.layers[-1]] = lambda *_, **__: self._wrapped(stream)
        self.active = True
        try:
            with evaluating(self._model), answering(answers):
                return logits_of(self._model(**inputs))
        finally:
            self.active = False

    def _wrapped(self, stream: Tensor) -> Any:
        return with_first_tensor(self._last_output, stream)


def _emptied(output: Any) -> Any:
    """The last layer's output without its tensors' memory: only the structure is needed."""
    stream = output_stream(output)
    return with_first_tensor(output, stream[..., :0].clone())
