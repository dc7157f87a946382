"""Running a model with gradients with respect to something else than its parameters."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn


@contextmanager
def frozen_parameters(model: nn.Module) -> Iterator[None]:
    """A context in which no parameter requires a gradient: a graph then keeps nothing for theirs.

    Afterwards each requires one if it did before, and what the passes have left on the modules (a
    tensor of the last prompt) no longer holds a graph. To be entered by whoever holds the model's
    lock.
    """
    trained = [each for each in model.parameters() if each.requires_grad]
    try:
        for parameter in trained:
            parameter.requires_grad_(False)
        yield
    finally:
        _let_go_of_graphs(model)
        for parameter in trained:
            parameter.requires_grad_(True)


def _let_go_of_graphs(model: nn.Module) -> None:
    for module in model.modules():
        for kept in (module._buffers, vars(module)):
            for name, value in list(kept.items()):
                if isinstance(value, Tensor) and value.grad_fn is not None:
                    kept[name] = value.detach()
