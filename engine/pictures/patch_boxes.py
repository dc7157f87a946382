"""From the token that every pixel value feeds to the box of each token in the photograph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from engine.pictures.tile_maps import TileMap

MOSTLY: Final = 0.5
"""A row (column) of pixels belongs to a token's box if it holds this share of as many of its pixels
as the fullest one: gradients that are nearly 0 leave gaps and strays."""
BORNE_OUT: Final = 0.6
"""How well the centres of tokens must lie in an even grid for it to be theirs."""
MANY_CELLS: Final = 2**24
"""Of a table of counts, so that it stays small."""


@dataclass(frozen=True)
class TokenBoxes:
    """The boxes of n tokens."""

    tokens: Tensor
    """int64 [n]: the positions of the tokens, ascending."""
    boxes: Tensor
    """float64 [n, 4]: x0, y0, x1, y1 in pixels of the photograph; NaN for a token that shows
    nothing of it."""
    tile: Tensor
    """int64 [n]: the tile, from 0 in the order of the tokens."""
    row: Tensor
    """int64 [n]: the row in the tile, from 0."""
    column: Tensor
    """int64 [n]: likewise."""
    filled: float
    """The share of the boxes' pixels that feed the box's own token."""
    overlap: float
    """The area of all boxes over that of the pixels that feed a token; boxes that do not overlap
    have about 1."""


def boxes_of(numbers: Tensor, maps: Sequence[TileMap | None]) -> TokenBoxes:
    """The boxes of all tokens in `numbers`, int [tiles, height, width, channels]: the position of
    the token that each pixel value feeds, negative for none."""
    flat = _of_pixels(numbers)
    found: dict[int, tuple[int, int, tuple[int, int, int, int], int]] = {}
    for index, tile in enumerate(flat):
        for token, box, count in _pixel_boxes(tile):
            if token not in found or found[token][3] < count:
                found[token] = (index, token, box, count)
    tokens = sorted(found)
    tile = torch.tensor([found[token][0] for token in tokens], dtype=torch.int64)
    boxes = torch.tensor([found[token][2] for token in tokens], dtype=torch.int64).reshape(-1, 4)
    owned = torch.tensor([found[token][3] for token in tokens], dtype=torch.float64)
    area = ((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).double()
    row, column = _ranks(boxes[:, [1, 3]], tile), _ranks(boxes[:, [0, 2]], tile)
    placed = torch.stack(
        [_placed(box, maps[at]) for box, at in zip(boxes.tolist(), tile.tolist(), strict=True)]
        or [torch.empty(4, dtype=torch.float64)]
    )[: len(tokens)]
    order = {at: rank for rank, at in enumerate(dict.fromkeys(tile.tolist()))}
    return TokenBoxes(
        tokens=torch.tensor(tokens, dtype=torch.int64),
        boxes=placed,
        tile=torch.tensor([order[at] for at in tile.tolist()], dtype=torch.int64),
        row=row,
        column=column,
        filled=float(owned.sum() / area.sum().clamp(min=1)),
        overlap=float(area.sum() / (flat >= 0).sum().clamp(min=1)),
    )


def in_even_grids(numbers: Tensor) -> Tensor | None:
    """The numbers of tokens that divide their tile evenly, row by row, if `numbers` [tiles, height,
    width, channels] bear that out: the centres of the tokens' pixels must lie in such a grid. None
    if they do not.
    """
    flat = _of_pixels(numbers)
    size = int(flat.max()) + 1
    counts = torch.stack([torch.bincount(tile[tile >= 0], minlength=size) for tile in flat])
    main = counts.argmax(0)  # the tile that holds most of a token
    even = torch.full_like(flat, -1)
    for index, tile in enumerate(flat):
        tokens = ((main == index) & (counts[index] > 0)).nonzero().flatten()
        if len(tokens):
            grid = _even_grid(tile, tokens)
            if grid is None:
                return None
            even[index] = grid
    return even[..., None]


def even_grid(tokens: Tensor, height: int, width: int, rows: int) -> Tensor:
    """Tokens that divide a tile evenly into so many rows, row by row: [height, width]."""
    columns = len(tokens) // rows
    y = torch.arange(height) * rows // height
    x = torch.arange(width) * columns // width
    return tokens[y[:, None] * columns + x]


def _even_grid(tile: Tensor, tokens: Tensor) -> Tensor | None:
    """The even grid of these tokens that a tile [height, width] bears out; None if it does not."""
    y, x = (tile >= 0).nonzero().unbind(-1)
    top, left = int(y.min()), int(x.min())
    height, width = int(y.max()) + 1 - top, int(x.max()) + 1 - left
    shown = tile[top : top + height, left : left + width]
    place = torch.full((int(tile.max()) + 1,), -1)
    place[tokens] = torch.arange(len(tokens))
    centres = _centres(torch.where(shown >= 0, place[shown.clamp(min=0)], -1), len(tokens))
    best, most = None, BORNE_OUT
    for rows in range(1, len(tokens) + 1):
        columns = len(tokens) // rows
        if columns * rows != len(tokens) or rows > height or columns > width:
            continue
        grid = even_grid(torch.arange(len(tokens)), height, width, rows)
        right = _alike(centres, _centres(grid, len(tokens)), (rows, columns))
        if right >= most:
            best, most = tokens[grid], right
    if best is None:
        return None
    whole = torch.full_like(tile, -1)
    whole[top : top + height, left : left + width] = best
    return whole


def _centres(tile: Tensor, count: int) -> Tensor:
    """The mean row and column, float64 [count, 2], of the pixels of 0 to count - 1 in a tile."""
    y, x = (tile >= 0).nonzero().unbind(-1)
    own = tile[y, x]
    many = torch.bincount(own, minlength=count).clamp(min=1)
    sums = [torch.bincount(own, each.double(), minlength=count) for each in (y, x)]
    return torch.stack(sums, -1) / many[:, None]


def _alike(found: Tensor, expected: Tensor, sides: tuple[int, int]) -> float:
    """How well centres [n, 2] lie in a grid of so many rows and columns, up to 1: along each axis
    their correlation with it, and how much of its size they fill, whichever is less."""
    worst = 1.0
    for axis, side in enumerate(sides):
        if side == 1:
            continue
        a, b = (each[:, axis] - each[:, axis].mean() for each in (found, expected))
        slope = float((a * b).sum() / b.square().sum())
        correlation = float((a * b).sum() / (a.norm() * b.norm()).clamp(min=1e-9))
        worst = min(worst, slope, correlation)
    return worst


def _of_pixels(numbers: Tensor) -> Tensor:
    """The token of each pixel, [tiles, height, width]: the one that two of its channels feed, or
    else any of them."""
    if numbers.shape[-1] == 1:
        return numbers[..., 0].long()
    ordered = numbers.long().sort(-1).values
    twice = torch.where(ordered[..., 1:] == ordered[..., :-1], ordered[..., 1:], -1).amax(-1)
    return torch.where(twice >= 0, twice, ordered[..., -1])


def _pixel_boxes(tile: Tensor) -> list[tuple[int, tuple[int, int, int, int], int]]:
    """Of each token in a tile [height, width]: its position, the box of its pixels (first column
    and row, and those after the last ones), and how many of the pixels in the box are its own."""
    y, x = (tile >= 0).nonzero().unbind(-1)
    if not len(x):
        return []
    tokens, which = tile[y, x].unique(return_inverse=True)
    height, width = tile.shape
    step = max(1, MANY_CELLS // max(height, width))
    found = []
    for first in range(0, len(tokens), step):
        here = (which >= first) & (which < first + step)
        own = which[here] - first
        count = min(step, len(tokens) - first)
        x0, x1 = _extent(own, x[here], count, width)
        y0, y1 = _extent(own, y[here], count, height)
        within = (x[here] >= x0[own]) & (x[here] < x1[own])
        within &= (y[here] >= y0[own]) & (y[here] < y1[own])
        owned = torch.bincount(own[within], minlength=count)
        boxes = torch.stack([x0, y0, x1, y1], -1).tolist()
        some = tokens[first : first + step].tolist()
        found += [
            (token, tuple(box), number)
            for token, box, number in zip(some, boxes, owned.tolist(), strict=True)
        ]
    return found


def _extent(own: Tensor, at: Tensor, count: int, length: int) -> tuple[Tensor, Tensor]:
    """The first row (or column) of each token's box, and the one after the last."""
    table = torch.bincount(own * length + at, minlength=count * length).view(count, length)
    full = table >= MOSTLY * table.amax(1, keepdim=True).clamp(min=1)
    places = torch.arange(length)
    first = torch.where(full, places, length).amin(1)
    return first, torch.where(full, places, -1).amax(1) + 1


def _placed(box: Sequence[int], tile: TileMap | None) -> Tensor:
    """The box in the photograph; NaN where none of its pixels is of the photograph."""
    x0, y0, x1, y1 = box
    if tile is not None:
        left, top, right, bottom = tile.inside
        if x0 < right and x1 > left and y0 < bottom and y1 > top:
            edges = torch.tensor(box, dtype=torch.float64)
            x, y = tile.x.at(edges[::2]), tile.y.at(edges[1::2])
            return torch.stack([x[0], y[0], x[1], y[1]])
    return torch.full((4,), torch.nan, dtype=torch.float64)


def _ranks(edges: Tensor, tile: Tensor) -> Tensor:
    """The rank of each token's row (column) among those of its tile; `edges` is [n, 2]."""
    ranks = torch.full((len(edges),), -1, dtype=torch.int64)
    for at in tile.unique().tolist():
        here = tile == at
        middle = edges[here].double().mean(1)
        size = (edges[here, 1] - edges[here, 0]).double().median()
        ordered = middle.sort().values
        starts = torch.cat([ordered[:1], ordered[1:][ordered.diff() > size / 2]])
        ranks[here] = torch.searchsorted(starts, middle, right=True) - 1
    return ranks
