"""The experts of a mixture one by one: what each has given at a position, and from which units.

Mixtures keep the weights of all experts in one tensor, so no module is called for each. Here the
module of all experts is called again, for one token and one expert at a time, and the products with
its weights are watched.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
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
        output, product = done[0].reshape(-1).cpu().double(), done[1]
        units = _units(seen.module, expert, product, output, allowed)
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
    outputs, product = done[0].reshape(len(seen.rows), -1).cpu().double(), done[1]
    return [
        ExpertOutput(
            expert, None, row, output, _units(seen.module, expert, product, output, allowed)
        )
        for expert, (row, output) in enumerate(zip(seen.rows, outputs, strict=True))
        if bool(output.any())
    ]


def _watched(
    module: nn.Module, args: Any, kwargs: Any
) -> tuple[Tensor, tuple[Tensor, Tensor] | None] | None:
    """What a module returns, and the last product with its own weights that is as wide; None if it
    cannot be called so."""
    products = _Products(module.parameters(recurse=False))
    try:
        with products:
            made = first_float_tensor(module(*args, **kwargs))
    except ERRORS as error:
        if is_out_of_memory(error):
            raise
        return None
    if made is None:
        return None
    fitting = [each for each in products.seen if each[1].shape[-1] == made.shape[-1]]
    return made, fitting[-1] if fitting else None


class _Products(TorchDispatchMode):
    """Notes the products of vectors with weights, or with parts of them."""

    def __init__(self, weights: Iterable[Tensor]) -> None:
        super().__init__()
        self._places = {each.untyped_storage().data_ptr() for each in weights if each.ndim >= 3}
        self.seen: list[tuple[Tensor, Tensor]] = []
        """(vectors [..., units], weights [..., units, width])"""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        floats = [
            each
            for each in args
            if isinstance(each, Tensor) and each.is_floating_point() and each.ndim >= 2
        ]
        for weights in floats:
            if weights.untyped_storage().data_ptr() not in self._places:
                continue
            for vectors in floats:
                fits = vectors.shape[-1] == weights.shape[-2]
                if vectors is not weights and fits and vectors.ndim <= weights.ndim:
                    self.seen.append((vectors, weights))
        return made


def _units(
    module: nn.Module,
    expert: int,
    product: tuple[Tensor, Tensor] | None,
    output: Tensor,
    allowed: float,
) -> ExpertUnits | None:
    """The units of an expert whose output, float64 [width], is such a product and perhaps a bias;
    None if it is not."""
    if product is None:
        return None
    vectors, weights = product
    if vectors.ndim == 3 and len(vectors) > 1:
        vectors = vectors[expert]
    columns = weights[expert] if weights.ndim == 3 else weights
    activations = vectors.reshape(-1)
    if weights.ndim > 3 or len(activations) != len(columns):
        return None
    rest = output - (precise(activations) @ precise(columns)).cpu().double()
    limit = allowed * float(output.norm())
    own = [torch.zeros_like(output)]
    own += [
        parameter.detach()[expert].cpu().double()
        for parameter in module.parameters(recurse=False)
        if parameter.ndim == 2 and parameter.shape[1] == len(output) and expert < len(parameter)
    ]
    for bias in own:
        if float((rest - bias).norm()) <= limit:
            return ExpertUnits(activations, columns, bias)
    return None
