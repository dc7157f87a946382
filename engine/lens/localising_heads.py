"""Which heads look at few places of the picture (Kang et al. 2025, arXiv 2503.06287)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

MOST_LOOKED_AT: Final = 512
"""Of the heads with the largest share on the picture, how many are looked at."""


@dataclass(frozen=True)
class LocalisingHead:
    """A head and how concentrated its attention on the picture is."""

    layer: int
    head: int
    share: float
    """Of its weight, on the picture."""
    entropy: float
    """In nats; 0 if everything above the mean lies in one connected region."""


@dataclass(frozen=True)
class CellGrid:
    """Where cells are, [cells] each: the tile, and the row and column in it; -1 if unknown."""

    tile: Tensor
    row: Tensor
    column: Tensor


def localising_heads(
    maps: Sequence[tuple[int, Tensor]], grid: CellGrid, count: int = 3
) -> tuple[LocalisingHead, ...]:
    """The heads that localise best, the best one first.

    `maps` are (layer, weights [heads, cells] on the picture's cells). Heads whose share on the
    picture is below the mean of all heads are left out; the others are ordered by the entropy of
    the weight of connected regions (of neighbouring cells, also diagonally) above the mean of
    their map, and by share where that is equal. Empty if no cell's place is known.
    """
    placed = (grid.row >= 0) & (grid.column >= 0)
    if not maps or not bool(placed.any()):
        return ()
    names = [(layer, head) for layer, each in maps for head in range(len(each))]
    weights = torch.cat([each for _, each in maps]).float()  # [all heads, cells]
    shares = weights.sum(-1)
    order = shares.argsort(descending=True, stable=True)[:MOST_LOOKED_AT]
    chosen = order[shares[order] >= shares.mean()]
    entropies = _entropies(weights[chosen][:, placed], _places(grid, placed))
    found = [
        LocalisingHead(names[index][0], names[index][1], float(shares[index]), entropy)
        for index, entropy in zip(chosen.tolist(), entropies.tolist(), strict=True)
    ]
    found.sort(key=lambda each: (each.entropy, -each.share))
    return tuple(found[:count])


def _places(grid: CellGrid, placed: Tensor) -> Tensor:
    """A row and a column for every placed cell, int64 [cells, 2], in which tiles do not touch."""
    tile, row, column = (each[placed].long() for each in (grid.tile, grid.row, grid.column))
    height = int(row.max()) + 2
    return torch.stack([tile.clamp_min(0) * height + row, column], dim=-1)


def _entropies(weights: Tensor, places: Tensor) -> Tensor:
    """Of the weight of each map's connected regions, [maps, cells] -> [maps]."""
    maps = len(weights)
    height, width = (places.amax(0) + 1).tolist()
    above = torch.zeros(maps, height, width, dtype=torch.bool)
    above[:, places[:, 0], places[:, 1]] = weights > weights.mean(-1, keepdim=True)
    regions = _regions(above)[:, places[:, 0], places[:, 1]]  # [maps, cells], 0 below the mean
    mass = torch.zeros(maps, height * width + 1).scatter_add_(1, regions, weights)
    mass[:, 0] = 0.0
    parts = mass / mass.sum(-1, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny)
    entropies: Tensor = -torch.special.xlogy(parts, parts).sum(-1)
    return entropies.clamp_min(0.0)


def _regions(above: Tensor) -> Tensor:
    """A number for every connected region of true cells, the same for its cells; 0 for others.

    int64, of the shape [maps, rows, columns] of `above`.
    """
    _, height, width = above.shape
    numbers = torch.arange(1, height * width + 1).reshape(height, width)
    labels = torch.where(above, numbers, 0)
    while True:
        around = torch.nn.functional.max_pool2d(
            labels.float().unsqueeze(1), kernel_size=3, stride=1, padding=1
        ).squeeze(1)
        grown = torch.where(above, around.long(), 0)
        if torch.equal(grown, labels):
            return labels
        labels = grown
