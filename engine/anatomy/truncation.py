"""The model truncated to its first layers: the ground truth for every row of the lens.

Row i is right if it equals the logits of the same model without the layers from i on. The model is
truncated in place, for one pass, by removing the later members from its list of layers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn

from engine.anatomy.hooks import evaluating
from engine.anatomy.watching import logits_in
from engine.errors import CannotRead, typed_line
from engine.system.memory import is_out_of_memory


def truncated_logits(
    model: nn.Module,
    layers_name: str,
    layers: Sequence[nn.Module],
    count: int,
    inputs: Mapping[str, Any],
) -> Tensor:
    """Logits of `model` truncated to the first `count` of `layers`, [batch, positions, vocabulary].

    `layers_name` is the name of the ModuleList that holds them. The model is restored before this
    returns. Raises CannotRead if the model's code cannot run with fewer layers.
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
                return logits_in(model(**inputs))
            except Exception as error:
                if is_out_of_memory(error):
                    raise
                reason = typed_line(error)
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
    """Set to `count` every number of layers in the config nearest to the layers."""
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
