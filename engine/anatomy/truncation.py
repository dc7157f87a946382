"""The same model cut down to its first layers: what every row of the lens has to equal.

Row i is right where it gives the logits of the model that ends after i layers, with everything
else as it is. Cutting is done in place, for one pass, by taking the later members out of the list
of layers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn

from engine.anatomy.hooks import evaluating
from engine.anatomy.watching import logits_of
from engine.errors import CannotRead, one_line
from engine.system.memory import is_out_of_memory


def truncated_logits(
    model: nn.Module,
    layers_name: str,
    layers: Sequence[nn.Module],
    count: int,
    inputs: Mapping[str, Any],
) -> Tensor:
    """Logits of `model` cut down to the first `count` of `layers`, [batch, positions, vocabulary].

    `layers_name` is the list that holds them. The model is whole again on return. Raises
    CannotRead where its code cannot run with fewer layers.
    """
    group = model.get_submodule(layers_name)
    reason = ""
    for tell_config in (False, True):
        with ExitStack() as stack:
            stack.enter_context(_cut(group, layers, count))
            if tell_config:
                stack.enter_context(_counting(model, layers_name, len(layers), count))
            stack.enter_context(evaluating(model))
            try:
                return logits_of(model(**inputs))
            except Exception as error:
                if is_out_of_memory(error):
                    raise
                reason = one_line(error, 200)
    raise CannotRead(f"cut down to {count} layers the model does not run: {reason}")


@contextmanager
def _cut(group: nn.Module, layers: Sequence[nn.Module], count: int) -> Iterator[None]:
    whole = dict(group._modules)
    kept = set(layers[:count])
    group._modules.clear()
    group._modules.update({name: layer for name, layer in whole.items() if layer in kept})
    try:
        yield
    finally:
        group._modules.clear()
        group._modules.update(whole)


@contextmanager
def _counting(model: nn.Module, layers_name: str, present: int, count: int) -> Iterator[None]:
    """Let the config nearest to the layers say `count` wherever it says how many there are."""
    path = layers_name.split(".")[:-1]
    owners = [model.get_submodule(".".join(path[:end])) for end in range(len(path), -1, -1)]
    config = next((owner.config for owner in owners if hasattr(owner, "config")), None)
    names = [
        name
        for name, value in vars(config).items()
        if "layer" in name and isinstance(value, int) and value == present
    ]
    for name in names:
        setattr(config, name, count)
    try:
        yield
    finally:
        for name in names:
            setattr(config, name, present)
