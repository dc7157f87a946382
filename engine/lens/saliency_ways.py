"""Saliency maps of the values of a leaf: gradients, paths of them, and taking values away."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from engine.lens.lens import Lens
from engine.lens.saliency_leaves import Leaf, Slope, Values

NOISE: Final = 0.15
"""The standard deviation of SmoothGrad's noise, as a share of the values' range."""
COMPLETE: Final = 0.05
"""The completeness error up to which the steps of integrated gradients are enough."""
DOUBLED: Final = 3
"""How often they are doubled at most."""
LEAST: Final = 1e-6
"""A change of the target that counts as none."""
PARTS: Final = 16
"""How many parts of a map are told on the way."""


@dataclass(frozen=True)
class Found:
    """A map, or what is known of it so far."""

    sums: Tensor
    """float64 [tokens + 1]: see `Leaf.per_token`; NaN for what is not known yet."""
    done: int
    """Passes."""
    orders: int
    """Passes that there will be."""
    completeness: float | None = None
    before: int = 0
    """Passes of earlier rounds, which were too few."""


def times_input(leaf: Leaf, slope: Slope) -> Tensor:
    """Gradient x input, float64 [tokens + 1]."""
    pairs = zip(slope.by, leaf.start, strict=True)
    return leaf.per_token([one.float() * other.float() for one, other in pairs])


def integrated(leaf: Leaf, start: Values, risen: float, steps: int, most: int) -> Iterator[Found]:
    """Integrated gradients along the straight line from `start`, by midpoints (Sundararajan et al.
    2017, arXiv 1703.01365); `risen` is the target less that at the start.

    If the sum of all attributions misses that by more than COMPLETE, it begins again with twice as
    many steps, at most DOUBLED times and up to `most`.
    """
    before = 0
    for doubled in range(DOUBLED + 1):
        mean = [torch.zeros_like(each, dtype=torch.float32) for each in leaf.start]
        tell = max(1, steps // PARTS)
        for done in range(1, steps + 1):
            share = (done - 0.5) / steps
            at = tuple(
                (zero.float() + share * (one.float() - zero.float())).to(one.dtype)
                for zero, one in zip(start, leaf.start, strict=True)
            )
            for total, each in zip(mean, leaf.slope(at).by, strict=True):
                total += each.float()
            if done % tell and done != steps:
                continue
            sums = leaf.per_token(
                [
                    total / done * (one.float() - zero.float())
                    for total, one, zero in zip(mean, leaf.start, start, strict=True)
                ]
            )
            error = abs(float(sums.sum()) - risen) / max(abs(risen), LEAST)
            found = Found(sums, done, steps, error if done == steps else None, before)
            if done < steps:
                yield found
        yield found
        if error <= COMPLETE or 2 * steps > most or doubled == DOUBLED:
            return
        before += steps
        steps *= 2


def smoothed(leaf: Leaf, steps: int, seed: int) -> Iterator[Found]:
    """SmoothGrad (Smilkov et al. 2017, arXiv 1706.03825) of gradient x input: its mean over inputs
    with Gaussian noise of NOISE times their range; of a row, each channel has its own range."""
    generator = torch.Generator().manual_seed(seed)
    spreads = [_range_of(each, by_channel=leaf.row is not None) for each in leaf.start]
    total = torch.zeros(leaf.length + 1, dtype=torch.float64)
    tell = max(1, steps // PARTS)
    for done in range(1, steps + 1):
        at = tuple(
            (each.float() + NOISE * spread * _noise(each, generator)).to(each.dtype)
            for each, spread in zip(leaf.start, spreads, strict=True)
        )
        slope = leaf.slope(at)
        total += leaf.per_token([a.float() * b.float() for a, b in zip(slope.by, at, strict=True)])
        if done % tell == 0 or done == steps:
            yield Found(total / done, done, steps)


def occluded(
    leaf: Leaf, blocks: Sequence[Collection[int]], value: float, lens: Lens
) -> Iterator[Found]:
    """By how much the target falls from `value` if the tokens of a block are replaced by what
    stands in for them (Zeiler and Fergus 2014, arXiv 1311.2901); every token of a block gets the
    block's fall. The blocks are taken in an order that fills the picture evenly."""
    assert leaf.stand_in is not None
    sums = torch.full((leaf.length + 1,), math.nan, dtype=torch.float64)
    order = evenly(len(blocks))
    together = leaf.at_once(lens)
    tell, told = max(1, len(blocks) // PARTS), 0
    for start in range(0, len(order), together):
        some = [blocks[place] for place in order[start : start + together]]
        values = [leaf.replaced(block, leaf.stand_in, leaf.start) for block in some]
        for block, left in zip(some, leaf.values_of(values, lens, together > 1), strict=True):
            sums[[*block]] = value - left
        done = start + len(some)
        if done >= told + tell or done == len(order):
            told = done
            yield Found(sums.clone(), done, len(order))


def evenly(count: int) -> list[int]:
    """The numbers below `count`, each lying between those before it as far from them as can be."""
    bits = max(1, (count - 1).bit_length())
    reversed_ = (int(f"{number:0{bits}b}"[::-1], 2) for number in range(2**bits))
    return [number for number in reversed_ if number < count]


def _range_of(values: Tensor, by_channel: bool) -> Tensor:
    known = values.float()
    if by_channel:
        return known.amax(0, keepdim=True) - known.amin(0, keepdim=True)
    return known.max() - known.min()


def _noise(like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(like.shape, generator=generator).to(like.device)
