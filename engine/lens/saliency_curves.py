"""How well a map ranks the picture's cells: insertion and deletion (Petsiuk et al. 2018, arXiv
1806.07421)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from engine.lens.lens import Lens
from engine.lens.saliency_leaves import Leaf

POINTS: Final = 11
"""Shares of the cells at which the target is taken, from none to all."""


@dataclass(frozen=True)
class Areas:
    """Curves of the target's probability (of a difference: of the sigmoid of it), and the areas
    under them."""

    fractions: Tensor
    """float32 [points]"""
    inserted: Tensor
    deleted: Tensor

    @property
    def insertion(self) -> float:
        return float(torch.trapezoid(self.inserted, self.fractions))

    @property
    def deletion(self) -> float:
        return float(torch.trapezoid(self.deleted, self.fractions))


class CellCurves:
    """Takes the target with some cells in place and the others replaced."""

    def __init__(self, leaf: Leaf, cells: Sequence[int], lens: Lens) -> None:
        """`cells` are the positions of the picture's tokens; `leaf` has something that stands in
        for them."""
        self._leaf, self._cells, self._lens = leaf, [*cells], lens
        self._together = leaf.at_once(lens)
        self._known: dict[frozenset[int], float] = {}

    def along(self, order: Sequence[int]) -> Areas:
        """Delete the cells from the whole picture, and insert them into what stands in for it, in
        this order of their indices."""
        count = len(order)
        shares = [point / (POINTS - 1) for point in range(POINTS)]
        firsts = [[*order[: round(share * count)]] for share in shares]
        gone = [frozenset(some) for some in firsts]
        left = [frozenset(order) - some for some in gone]
        self._take([*gone, *left])
        curves = [
            torch.tensor([self._known[some] for some in each], dtype=torch.float32)
            for each in (left, gone)
        ]
        return Areas(torch.tensor(shares, dtype=torch.float32), *curves)

    def _take(self, wanted: Sequence[frozenset[int]]) -> None:
        """Run the passes in which these cells are replaced, as far as they are not known."""
        leaf = self._leaf
        assert leaf.stand_in is not None
        missing = [each for each in dict.fromkeys(wanted) if each not in self._known]
        for start in range(0, len(missing), self._together):
            some = missing[start : start + self._together]
            tokens = [[self._cells[cell] for cell in sorted(gone)] for gone in some]
            values = [leaf.replaced(each, leaf.stand_in, leaf.start) for each in tokens]
            found = leaf.values_of(values, self._lens, self._together > 1)
            for gone, value in zip(some, found, strict=True):
                self._known[gone] = as_probability(value, len(leaf.target.ids) == 2)


def as_probability(value: float, difference: bool) -> float:
    """Of a log-probability, or of a difference of logits."""
    if not difference:
        return math.exp(value)
    return float(torch.tensor(value, dtype=torch.float64).sigmoid())


def most_salient_first(sizes: Tensor) -> list[int]:
    """The indices of a map, the largest first; those without a number come last."""
    known = torch.where(sizes.isnan(), -math.inf, sizes)
    return [int(each) for each in known.argsort(descending=True, stable=True)]


def at_random(count: int, seed: int) -> list[int]:
    """A random order."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed)).tolist()
