"""A pass up to the first decoder layer, in which all layers before it are the identity.

What is left of a vision tower without its layers (the patch embedding, merging, pooling, reordering
and the projector) keeps apart what each picture token sees of the picture.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import Tensor, nn

from engine.anatomy.hooks import (
    answering,
    evaluating,
    first_float_tensor,
    hooked,
    slots,
    with_first_tensor,
)
from engine.anatomy.parts import ModelParts
from engine.errors import Cancelled

Stop = Callable[[], bool]


class _Reached(Exception):
    """The first decoder layer has been entered: nothing after it is of interest."""


def entering_stream(
    model: nn.Module,
    parts: ModelParts,
    inputs: Mapping[str, Any],
    stop: Stop,
    *,
    bypass: bool = True,
    gradients: bool = False,
) -> Tensor:
    """The stream that enters the first decoder layer, [positions, width], of a batch of one.

    With `bypass`, every layer before it returns what it is given: a member of a `ModuleList` or a
    `Sequential` that has parts of its own and returns a tensor of the shape that it takes. The
    first member of each kind does run, which shows what it returns. The hooks and replaced
    methods are removed in every case. Raises Cancelled soon after `stop()` is true.
    """
    caught: list[Tensor] = []

    def entered(module: nn.Module, args: Any, kwargs: Any) -> None:
        caught.append(parts.stream_slot.get(args, kwargs))
        raise _Reached

    def look(module: nn.Module, args: Any, kwargs: Any) -> None:
        if stop():
            raise Cancelled("cancelled")

    watched = {**dict.fromkeys(parts.outside, look), **dict.fromkeys(parts.layers, entered)}
    answers = _identities(parts.outside) if bypass else {}
    look(model, (), {})
    with (
        evaluating(model, gradients),
        answering(answers),
        hooked(watched),
        suppress(_Reached),
    ):
        model(**inputs)
    if not caught:
        raise RuntimeError("the pass never reached the layers that were found before")
    axis = parts.tail.position_axis
    return caught[0].movedim((axis - 1, axis), (0, 1))[0].flatten(1)


def _identities(members: Sequence[nn.Module]) -> dict[nn.Module, Callable[..., Any]]:
    """For every module a function that returns the stream it is called with, in the structure in
    which the first module of its kind returned it; one that changes the shape is run."""
    returned: dict[Any, Any] = {}

    def identity_of(module: nn.Module) -> Callable[..., Any]:
        own = module.forward
        # Modules of one class whose parameters have the same shapes return alike.
        shapes = tuple((name, tuple(each.shape)) for name, each in module.named_parameters())

        def answer(*args: Any, **kwargs: Any) -> Any:
            slot = next(slots(args, kwargs), None)
            if slot is None:
                return own(*args, **kwargs)
            stream: Tensor = slot.get(args, kwargs)
            kind = (type(module), shapes, stream.shape)
            if kind not in returned:
                output = own(*args, **kwargs)
                made = first_float_tensor(output)
                if made is None or made.shape != stream.shape or made.dtype != stream.dtype:
                    return output
                returned[kind] = with_first_tensor(output, stream.detach())
            # A copy: whoever adds to the output in place must not change the module's input.
            return with_first_tensor(returned[kind], stream.clone())

        return answer

    return {module: identity_of(module) for module in members}


@contextmanager
def differentiable(
    inputs: Mapping[str, Any],
) -> Iterator[tuple[dict[str, Any], dict[str, Tensor]]]:
    """The inputs with their floating-point tensors replaced by copies that can be differentiated
    with respect to, and those copies by name."""
    with torch.inference_mode(False):
        leaves = {
            name: value.detach().clone().requires_grad_()
            for name, value in inputs.items()
            if isinstance(value, Tensor) and value.is_floating_point() and value.ndim >= 2
        }
        yield {**inputs, **leaves}, leaves
