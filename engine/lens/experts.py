"""The experts of a mixture one by one: what each has given at a position, and from which units.

Mixtures keep the weights of all experts in one tensor, so no module is called for each. Here the
module of all experts is called again, for one token and one expert at a time, and the products with
its weights are watched.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from engine.anatomy.hooks import first_float_tensor
from engine.anatomy.unit_columns import precise
from engine.passes.unit_watches import SeenCall
from engine.system.memory import is_out_of_memory

ERRORS: Final = (RuntimeError, TypeError, ValueError, IndexError, AttributeError, AssertionError)
"""What a module raises that cannot be called in such a way."""


@dataclass(frozen=True)
class ExpertUnits:
    """The units of one expert: its output, before the router's weight, is the sum of each times its
    column, and a bias."""

    activations: Tensor
    """[units]"""
    columns: Tensor
    """[units, width]: the model's own weights."""
    bias: Tensor
    """float64 [width]"""


@dataclass(frozen=True)
class ExpertOutput:
    """What one expert has given at the position."""

    index: int
    weight: float | None
    """The router's; None where it does not multiply the output."""
    row: int
    """Which row of its module's output it is in."""
    vector: Tensor
    """float64 [width]: times the router's weight."""
    units: ExpertUnits | None
    """None where they were not seen."""


def holds_experts(module: nn.Module) -> bool:
    """Whether a module has weights of several experts in one tensor."""
    stacked = any(parameter.ndim >= 3 for parameter in module.parameters(recurse=False))
    return stacked and not isinstance(module, nn.modules.conv._ConvNd)


def expert_outputs(seen: SeenCall, allowed: float) -> list[ExpertOutput] | None:
    """The experts that were chosen at the position; None if they do not add up to what their module
    gave, but for `allowed` as a share of its norm. To be called in eval mode and without gradients,
    by whoever holds the model's lock."""
    found = _each_given_all(seen, allowed) if len(seen.rows) > 1 else _routed(seen, allowed)
    if not found:
        return None
    own = seen.left.cpu().double().sum(0)
    together = torch.stack([each.vector for each in found]).sum(0)
    return found if float((together - own).norm()) <= allowed * float(own.norm()) else None


def _routed(seen: SeenCall, allowed: float) -> list[ExpertOutput]:
    """Where the module is told which experts to use, and with which weights."""
    routing = _routing(seen)
    if routing is None:
        return []
    index, weights = routing
    found = []
    for place, (expert, weight) in enumerate(zip(index.tolist(), weights.tolist(), strict=True)):
        if not weight:
            continue

        def alone(value: Any, place: int = place) -> Any:
            if not isinstance(value, Tensor) or value.shape[-1:] != index.shape or value.ndim < 2:
                return value
            if value.is_floating_point():
                return torch.ones_like(value[..., :1])
            return value[..., place : place + 1]

        args = tuple(alone(value) for value in seen.args)
        kwargs = {key: alone(value) for key, value in seen.kwargs.items()}
        done = _watched(seen.module, args, kwargs)
        if done is None:
            return []
        output = done[0].reshape(-1).cpu().double()
        units = _units(seen.module, expert, done[1], output, allowed)
        found.append(ExpertOutput(expert, weight, seen.rows[0], weight * output, units))
    return found


def _routing(seen: SeenCall) -> tuple[Tensor, Tensor] | None:
    """The chosen experts and their weights, [chosen] each."""
    values = [each for each in (*seen.args, *seen.kwargs.values()) if isinstance(each, Tensor)]
    whole = [each for each in values if not each.is_floating_point() and each.dtype != torch.bool]
    for index in whole:
        for weights in values:
            if weights.is_floating_point() and weights.shape == index.shape and index.ndim >= 2:
                return index.reshape(-1), weights.reshape(-1)
    return None


def _each_given_all(seen: SeenCall, allowed: float) -> list[ExpertOutput]:
    """Where every expert gets all tokens, those that are not for it as vectors of zeros."""
    done = _watched(seen.module, seen.args, seen.kwargs)
    if done is None:
        return []
    outputs = done[0].reshape(len(seen.rows), -1).cpu().double()
    return [
        ExpertOutput(
            expert, None, row, output, _units(seen.module, expert, done[1], output, allowed)
        )
        for expert, (row, output) in enumerate(zip(seen.rows, outputs, strict=True))
        if bool(output.any())
    ]


def _watched(
    module: nn.Module, args: Any, kwargs: Any
) -> tuple[Tensor, list[tuple[Tensor, Tensor]]] | None:
    """What a module returns, and the products on the way that are as wide; None if it cannot be
    called so."""
    products = _Products()
    try:
        with products:
            made = first_float_tensor(module(*args, **kwargs))
    except ERRORS as error:
        if is_out_of_memory(error):
            raise
        return None
    if made is None:
        return None
    return made, [each for each in products.seen if each[1].shape[-1] == made.shape[-1]]


class _Products(TorchDispatchMode):
    """Notes all products of vectors with matrices."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[Tensor, Tensor]] = []
        """(vectors [..., 1, units], matrices [..., units, width]), in the order of the products"""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        floats = [
            each
            for each in args
            if isinstance(each, Tensor) and each.is_floating_point() and each.ndim >= 2
        ]
        for one, other in permutations(floats, 2):
            if one.shape[-1] == other.shape[-2] and one.shape[-2] == 1:
                self.seen.append((one, other))
            elif other.shape[-1] == 1 and one.shape[-1] == other.shape[-2]:
                self.seen.append((other.mT, one.mT))
        return made


def _units(
    module: nn.Module,
    expert: int,
    products: list[tuple[Tensor, Tensor]],
    output: Tensor,
    allowed: float,
) -> ExpertUnits | None:
    """The units of an expert whose output, float64 [width], is the last product with weights of its
    own, and perhaps a bias; None if it is not."""
    own = [each.detach() for each in module.parameters(recurse=False)]
    matrices = [each[expert] for each in own if each.ndim == 3 and expert < len(each)]
    biases = [
        each[expert].cpu().double()
        for each in own
        if each.ndim == 2 and each.shape[1] == len(output) and expert < len(each)
    ]
    limit = allowed * float(output.norm())
    for vectors, weights in reversed(products):
        columns = weights if weights.ndim == 2 else weights[expert if len(weights) > 1 else 0]
        activations = vectors[expert if vectors.ndim == 3 and len(vectors) > 1 else 0].flatten()
        if len(activations) != len(columns):
            continue
        if not any(_same(columns, each) or _same(columns, each.mT) for each in matrices):
            continue
        rest = output - (precise(activations) @ precise(columns)).cpu().double()
        for bias in (torch.zeros_like(output), *biases):
            if float((rest - bias).norm()) <= limit:
                return ExpertUnits(activations, columns, bias)
    return None


def _same(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and one.device == other.device and one.equal(other)
