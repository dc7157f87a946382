"""Where the tokens of a picture lie in it, worked out from how each family's processor is
described: the size that a picture is resized to, how it is cropped, padded and cut, and how patches
are merged.

Nothing here is taken from the engine. Boxes are [x0, y0, x1, y1] in pixels of the photograph, in
the order of the prompt; a token that shows nothing of it is None.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

Box = tuple[float, float, float, float]
Size = tuple[int, int]

NEXT_GRIDS = [(336, 672), (672, 336), (672, 672), (1008, 336), (336, 1008)]
"""Height and width, as published for LLaVA-NeXT."""
ONEVISION_GRIDS = [(384 * rows, 384 * columns) for rows in range(1, 7) for columns in range(1, 7)]


def _stretched(size: Size, rows: int, columns: int, part: Box | None = None) -> Iterator[Box]:
    """Even cells, row by row, of the whole picture or a part of it."""
    left, top, right, bottom = part or (0, 0, *size)
    wide, high = (right - left) / columns, (bottom - top) / rows
    for row in range(rows):
        for column in range(columns):
            x, y = left + column * wide, top + row * high
            yield x, y, x + wide, y + high


def llava(size: Size) -> list[Box | None]:
    """The shorter side becomes 336, the middle is cut out, 24 x 24 patches."""
    width, height = size
    short = min(size)
    wide, high = (336 if side == short else int(336 * side / short) for side in size)
    left, top = (wide - 336) // 2, (high - 336) // 2
    x, y = width / wide, height / high
    part = (left * x, top * y, (left + 336) * x, (top + 336) * y)
    return list(_stretched(size, 24, 24, part))


def _best_grid(size: Size, grids: list[Size]) -> Size:
    """The grid in which most of the picture's resolution is kept, and least of the grid wasted."""

    def kept(grid: Size) -> tuple[int, int]:
        scale = min(grid[1] / size[0], grid[0] / size[1])
        used = min(int(size[0] * scale) * int(size[1] * scale), size[0] * size[1])
        return used, used - grid[0] * grid[1]

    return max(grids, key=kept)  # of equals the first


def _any_resolution(size: Size, grids: list[Size], tile: int, patch: int) -> list[Box | None]:
    """The whole picture squeezed into a tile; then its tiles, padded, whose patches are unpadded
    and laid out in rows that each end with a token of its own."""
    width, height = size
    side = tile // patch
    step_x, step_y = width / tile * patch, height / tile * patch
    found: list[Box | None] = list(
        _stretched(size, side, side, (0, 0, side * step_x, side * step_y))
    )
    high, wide = _best_grid(size, grids)
    if wide / width < high / height:
        shown = wide, min(math.ceil(height * (wide / width)), high)
    else:
        shown = min(math.ceil(width * (high / height)), wide), high
    left, top = (wide - shown[0]) // 2, (high - shown[1]) // 2
    rows, columns = high // tile * side, wide // tile * side
    if width / height > columns / rows:
        cut = (rows - int(round(height * columns / width, 7))) // 2
        kept = range(cut, rows - cut), range(columns)
    else:
        cut = (columns - int(round(width * rows / height, 7))) // 2
        kept = range(rows), range(cut, columns - cut)

    def edges(cell: int, begin: int, scale: float) -> tuple[float, float]:
        at = cell // side * tile + cell % side * patch - begin
        return at * scale, (at + patch) * scale

    for row in kept[0]:
        for column in kept[1]:
            x0, x1 = edges(column, left, width / shown[0])
            y0, y1 = edges(row, top, height / shown[1])
            empty = x1 <= 0 or y1 <= 0 or x0 >= width or y0 >= height
            found.append(None if empty else (x0, y0, x1, y1))
        found.append(None)
    return found


def llava_next(size: Size) -> list[Box | None]:
    return _any_resolution(size, NEXT_GRIDS, 336, 14)


def llava_onevision(size: Size) -> list[Box | None]:
    """27 x 27 patches of 14 pixels leave 6 of 384 unused."""
    return _any_resolution(size, ONEVISION_GRIDS, 384, 14)


def _qwen(size: Size, cell: int, least: int, most: int) -> list[Box | None]:
    """Stretched to multiples of the cell, with the area between two bounds."""
    wide, high = (max(cell, round(side / cell) * cell) for side in size)
    if wide * high > most:
        shrink = math.sqrt(size[0] * size[1] / most)
        wide, high = (max(cell, math.floor(side / shrink / cell) * cell) for side in size)
    elif wide * high < least:
        grow = math.sqrt(least / (size[0] * size[1]))
        wide, high = (math.ceil(side * grow / cell) * cell for side in size)
    return list(_stretched(size, high // cell, wide // cell))


def qwen2_vl(size: Size) -> list[Box | None]:
    return _qwen(size, 28, 56 * 56, 28 * 28 * 1280)


def qwen3_vl(size: Size) -> list[Box | None]:
    return _qwen(size, 32, 64 * 64, 32 * 32 * 1280)


def _split(size: Size, tile: int, longest: int, cells: int) -> list[Box | None]:
    """The longer side becomes `longest`, both are rounded up to whole tiles; then the whole
    picture."""
    width, height = size
    if width >= height:
        wide = longest
        high = int(longest / (width / height))
        high += high % 2
    else:
        high = longest
        wide = int(longest * (width / height))
        wide += wide % 2
    ratio = max(1, wide) / max(1, high)
    if ratio >= 1:
        columns = math.ceil(wide / tile)
        rows = math.ceil(int(columns * tile / ratio) / tile)
    else:
        rows = math.ceil(high / tile)
        columns = math.ceil(int(rows * tile * ratio) / tile)
    found: list[Box | None] = []
    for part in _stretched(size, rows, columns):
        found += _stretched(size, cells, cells, part)
    return found + list(_stretched(size, cells, cells))


def idefics3(size: Size) -> list[Box | None]:
    return _split(size, 364, 4 * 364, 13)


def smolvlm(size: Size) -> list[Box | None]:
    return _split(size, 512, 4 * 512, 8)


def paligemma(size: Size) -> list[Box | None]:
    return list(_stretched(size, 16, 16))


gemma3 = paligemma


def internvl(size: Size) -> list[Box | None]:
    """Up to 12 tiles in the grid whose shape is nearest to the picture's, then a thumbnail."""
    width, height = size
    grids = sorted(
        ((c, r) for c in range(1, 13) for r in range(1, 13) if c * r <= 12),
        key=lambda grid: grid[0] * grid[1],
    )
    best, least = (1, 1), math.inf
    for columns, rows in grids:
        off = abs(width / height - columns / rows)
        larger = off == least and width * height > 0.5 * 448 * 448 * columns * rows
        if off < least or larger:
            best, least = (columns, rows), off
    found: list[Box | None] = []
    for part in _stretched(size, best[1], best[0]):
        found += _stretched(size, 16, 16, part)
    return found + list(_stretched(size, 16, 16)) if best != (1, 1) else found
