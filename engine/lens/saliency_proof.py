"""A gradient against a finite difference, in the model's own dtype."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor

from engine.anatomy.logit_map import largest_sizes
from engine.lens.saliency_leaves import Slope, Target, Values

TRIED: Final = 8
"""Of so many random directions the one along which the target changes most is taken."""
STEPS: Final = (0.003, 0.001, 0.0003, 0.0001, 0.00003, 0.00001, 0.000003, 0.01, 0.05)
"""By what share of their root mean square the values are moved, each way: if it is much, the target
is no straight line; if it is little, all that is seen is rounding."""
MOVES_OF_HALVES: Final = (0.04, 0.1, 0.015, 0.5)
"""By about how much the logits are to move in half precision, where rounding sets the step."""
ALLOWED: Final = 0.02
"""By what share the two may differ, beside rounding."""
ALLOWED_OF_HALVES: Final = 0.5
MOST_ROUNDING: Final = 0.1
MOST_ROUNDING_OF_HALVES: Final = 0.25
"""A step of which rounding can be a larger share shows nothing, but for the longest: if there the
target moves by less than rounding, it is proved that it does not move by more."""
ROUNDINGS: Final = 4.0
"""By how many units in the last place of the largest logit the logits of two passes may differ."""
AVERAGED: Final = 4
"""Half precision takes so many directions, since most of each difference is rounding."""


def disagreement(
    at: Values,
    found: Slope,
    value: Callable[[Values], float],
    target: Target,
    dtype: torch.dtype,
    among: Values | None = None,
    seed: int = 0,
) -> float:
    """By how much a gradient and a central finite difference along a random direction differ, as a
    share of what is allowed: right if at most 1.

    `found.by` is the derivative of `value` at the values `at`; the model computes in `dtype`.
    Only values where `among` is true are moved: others may be numbers of another kind. The
    difference is compared with what the gradient says of the step as it is after rounding. Of
    several lengths of the step the one counts that agrees best. Takes two passes for each length,
    in half precision eight.
    """
    coarse = dtype.itemsize < 4
    generator = torch.Generator().manual_seed(seed)
    exact, slope = _exact(at), _exact(found.by)
    slack = max(target.slack(found.logits), 1e-30)
    largest = float(largest_sizes(found.logits).max())
    noise = ROUNDINGS * torch.finfo(dtype).eps * largest * slack
    size = max(1e-6, *(float(each.square().mean().sqrt()) for each in exact))
    if not any(bool(each.any()) for each in slope):
        pairs = zip(exact, _free(slope, among), strict=True)
        step = [STEPS[-1] * size * mask * _signs(each, generator) for each, mask in pairs]
        error = abs(value(_rounded(at, exact, step)) - found.value) / max(noise, 1e-30)
        return math.inf if math.isnan(error) else error
    directions = _directions(slope, generator, coarse, among)
    best = math.inf
    for number in MOVES_OF_HALVES if coarse else STEPS:
        moved = []
        for direction in directions:
            length = number * size
            if coarse:
                rise = max(abs(_product(slope, direction)), 1e-30)
                length = min(number * slack / rise, STEPS[-1] * size)
            both = [
                _rounded(at, exact, [sign * length * each for each in direction])
                for sign in (1, -1)
            ]
            step = [one - other for one, other in zip(*map(_exact, both), strict=True)]
            moved.append((both, _product(slope, step)))
        said = sum(predicted**2 for _, predicted in moved)
        if not said:
            continue
        blurred = sum(abs(predicted) for _, predicted in moved) * noise / said
        if coarse:
            allowed = ALLOWED_OF_HALVES + min(blurred, MOST_ROUNDING_OF_HALVES)
        elif blurred <= MOST_ROUNDING or number == STEPS[-1]:
            allowed = ALLOWED + blurred
        else:
            continue
        seen = sum(
            predicted * (value(ahead) - value(behind)) for (ahead, behind), predicted in moved
        )
        error = abs(seen / said - 1.0) / allowed
        best = min(best, math.inf if math.isnan(error) else error)
        if best <= 1.0:
            break
    return best


def _directions(
    slope: list[Tensor], generator: torch.Generator, coarse: bool, among: Values | None
) -> list[list[Tensor]]:
    """Random directions. In half precision a random half of all values moves with the gradient:
    along any other direction, a step that is large enough to be seen would be too large."""
    pairs = [*zip(slope, _free(slope, among), strict=True)]
    if coarse:
        return [
            [(_signs(each, generator) > 0) * each.sign() * mask for each, mask in pairs]
            for _ in range(AVERAGED)
        ]
    drawn = ([_signs(each, generator) * mask for each, mask in pairs] for _ in range(TRIED))
    return [max(drawn, key=lambda direction: abs(_product(slope, direction)))]


def _free(like: list[Tensor], among: Values | None) -> list[Tensor]:
    """1 for the values that may move."""
    return [torch.ones_like(each) for each in like] if among is None else _exact(among)


def _signs(like: Tensor, generator: torch.Generator) -> Tensor:
    drawn = torch.randint(0, 2, like.shape, generator=generator, dtype=torch.int8)
    return drawn.double() * 2.0 - 1.0


def _product(one: list[Tensor], other: list[Tensor]) -> float:
    return sum(float((a * b).sum()) for a, b in zip(one, other, strict=True))


def _exact(values: Values) -> list[Tensor]:
    return [each.detach().to("cpu", torch.float64) for each in values]


def _rounded(like: Values, exact: list[Tensor], step: list[Tensor]) -> Values:
    return tuple(
        (value + by).to(one.device, one.dtype)
        for one, value, by in zip(like, exact, step, strict=True)
    )
