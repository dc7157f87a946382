"""Finds the sum of linear layers, and of experts, that an MLP's output is at one position."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import torch
from torch import Tensor, nn

from engine.anatomy.frozen_norm import FrozenNorm, freeze_module
from engine.anatomy.hooks import first_float_tensor
from engine.anatomy.layer_sums import sparse_sum
from engine.lens.experts import ERRORS, ExpertOutput, expert_outputs, holds_experts
from engine.passes.unit_watches import SeenCall, has_weights, is_leaf
from engine.system.memory import is_out_of_memory

SAME: Final = 1e-4
"""How far two computations of the same thing may be from each other, as a share of it."""
_FEW: Final = 12
"""Of up to so many modules, the fewest are sought that sum to a part."""


class LinearTerm(NamedTuple):
    """Something that may be a term of the sum that an MLP's output is."""

    seen: SeenCall
    vector: Tensor
    """float64 [width]"""
    experts: Sequence[ExpertOutput] = ()
    norm: FrozenNorm | None = None
    """What it goes through first."""


Terms = list[tuple[LinearTerm, float]]
"""With the factor of each."""


def linear_terms(
    calls: Sequence[SeenCall], target: Tensor, allowed: float, outer: nn.Module
) -> Terms | None:
    """What sums to an MLP's output `target`, float64 [width]; None if nothing does.

    `calls` are those inside the MLP, `outer` is the module whose output it is, and `allowed` what
    rounding may leave, as a share of it. To be called in eval mode and without gradients, by
    whoever holds the model's lock.
    """
    linear = _linear(calls, len(target), allowed, outer)
    if linear and not bool(target.any()):
        return [(linear[-1], 1.0)]  # it adds nothing, and so does each of its units
    some = [*_distinct(linear)]
    found = _fitted(target, some, allowed)
    if found is not None and len(found) == 1:
        return found
    # An adapter's linear map is a module of several.
    wrapped = [
        LinearTerm(seen, as_vector(seen.left))
        for seen in calls
        if len(seen.rows) == 1
        and seen.left.numel() == len(target)
        and not is_leaf(seen.module)
        and _is_linear(seen)
    ]
    inner = {module for each in wrapped for module in each.seen.module.modules()}
    some = [*wrapped, *(each for each in some if each.seen.module not in inner)]
    return (_fitted(target, [*_distinct(some)], allowed) if wrapped else None) or found


def as_vector(value: Tensor) -> Tensor:
    """Float64 [width], on the CPU."""
    return value.cpu().double().flatten()


def _linear(
    calls: Sequence[SeenCall], width: int, allowed: float, outer: nn.Module
) -> list[LinearTerm]:
    found: list[LinearTerm] = []
    for seen in calls:
        if seen.left.shape[-1] != width:
            continue
        if holds_experts(seen.module):
            experts = expert_outputs(seen, allowed)
            if experts is not None:
                found.append(LinearTerm(seen, as_vector(seen.left.sum(0)), experts))
        elif len(seen.rows) == 1 and is_leaf(seen.module) and has_weights(seen.module):
            found.append(LinearTerm(seen, as_vector(seen.left)))
    return [*found, *_normed(calls, found, outer)]


def _normed(
    calls: Sequence[SeenCall], found: Sequence[LinearTerm], outer: nn.Module
) -> Iterator[LinearTerm]:
    """The terms that a norm follows."""
    for seen in calls:
        if has_weights(seen.module) or seen.module is outer:
            continue
        for each in found:
            if each.seen.left.shape == seen.entered.shape and each.seen.left.equal(seen.entered):
                norm = freeze_module(seen.module, seen.entered[0])
                if norm is not None and norm.kind != "none":
                    yield each._replace(vector=as_vector(seen.left), norm=norm)


def _fitted(target: Tensor, candidates: Sequence[LinearTerm], allowed: float) -> Terms | None:
    if not candidates:
        return None
    vectors = torch.stack([each.vector for each in candidates])
    allowed *= float(target.norm())
    if len(candidates) <= _FEW:
        fit = sparse_sum(target, vectors, allowed)
        if fit is not None:
            return [
                (candidates[place], float(factor))
                for place, factor in zip(fit.terms, fit.factors, strict=True)
            ]
    if len(candidates) >= len(target):
        return None
    # Many experts that are a module each.
    factors = torch.linalg.lstsq(vectors.T, target[:, None], driver="gelsd").solution[:, 0]
    if float((factors @ vectors - target).norm()) > allowed:
        return None
    sizes = factors.abs() * vectors.norm(dim=1)
    return [
        (each, float(factor))
        for each, factor, size in zip(candidates, factors, sizes, strict=True)
        if float(size) > allowed
    ]


def _distinct(candidates: Sequence[LinearTerm]) -> Iterator[LinearTerm]:
    """The candidates without those that give what an earlier one gives, and zeros."""
    kept: list[LinearTerm] = []
    for each in candidates:
        if bool(each.vector.any()) and not any(each.vector.equal(other.vector) for other in kept):
            kept.append(each)
            yield each


def _is_linear(seen: SeenCall) -> bool:
    """Whether a module is a linear map and a bias, by what it does."""
    entered = seen.entered
    other = torch.randn(entered.shape, generator=torch.Generator().manual_seed(0)).to(entered)
    other = other * entered.float().square().mean().sqrt().to(entered)
    vectors = torch.cat([torch.zeros_like(entered), entered, other, entered + other])
    try:
        made = first_float_tensor(seen.module(vectors))
    except ERRORS as error:
        if is_out_of_memory(error):
            raise
        return False
    if made is None or made.shape[:-1] != vectors.shape[:-1]:
        return False
    nothing, one, two, both = made.double()
    limit = max(SAME, 4.0 * torch.finfo(entered.dtype).eps)
    return float((one + two - nothing - both).norm()) <= limit * float(both.norm())
