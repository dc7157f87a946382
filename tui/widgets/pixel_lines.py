"""Pixels as half-blocks, fast enough to draw a picture again for every press of a key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from rich.cells import cell_len
from rich.color import Color
from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

Pixels = npt.NDArray[np.uint8]
"""uint8 [height, width, 3], RGB; the height is even."""
Codes = npt.NDArray[np.int32]
"""int32 [height, width]: 0xRRGGBB, or the number of one of 256 colours."""
Marks = Mapping[int, tuple[str, Style]]
"""Column of a line -> the character that stands there, which may be wide, and its style; the
background is the picture's."""

_HALF: Final = "▀"
_CUBE: Final = np.array([0, 95, 135, 175, 215, 255])
_FIRST_GREY: Final = 232
_GREYS: Final = 24


def codes_of(pixels: Pixels, *, indexed: bool) -> Codes:
    """Return the colour of every pixel as one number; with `indexed`, the nearest of the 240
    colours that all terminals with 256 colours have in common."""
    if indexed:
        return _indexed(pixels)
    wide = pixels.astype(np.int32)
    codes: Codes = wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2]
    return codes


def _indexed(pixels: Pixels) -> Codes:
    wide = pixels.astype(np.int32)
    steps = np.abs(wide[..., None] - _CUBE).argmin(axis=-1)
    cube = 16 + steps @ np.array([36, 6, 1])
    grey = np.clip((wide.mean(axis=-1) - 3).round() // 10, 0, _GREYS - 1).astype(np.int32)
    off_cube = ((wide - _CUBE[steps]) ** 2).sum(axis=-1)
    off_grey = ((wide - (8 + 10 * grey)[..., None]) ** 2).sum(axis=-1)
    codes: Codes = np.where(off_grey < off_cube, _FIRST_GREY + grey, cube).astype(np.int32)
    return codes


def half_block_line(upper: Sequence[int], lower: Sequence[int], *, indexed: bool) -> list[Segment]:
    """Return two lines of colour numbers as one line of half-blocks."""
    segments: list[Segment] = []
    start, count = 0, len(upper)
    while start < count:
        above, below = upper[start], lower[start]
        end = start + 1
        while end < count and upper[end] == above and lower[end] == below:
            end += 1
        cell = " " if above == below else _HALF
        segments.append(Segment(cell * (end - start), _style(above, below, indexed)))
        start = end
    return segments


def marked_line(upper: list[int], lower: list[int], marks: Marks, *, indexed: bool) -> Strip:
    """Return a line of half-blocks in which characters stand at some columns, on the mean of the
    two colours there."""
    segments: list[Segment] = []
    start = 0
    for column in sorted(marks):
        text, style = marks[column]
        if column < start:
            continue
        segments += half_block_line(upper[start:column], lower[start:column], indexed=indexed)
        behind = Style(bgcolor=_mean(upper[column], lower[column], indexed=indexed))
        segments.append(Segment(text, style + behind))
        start = column + cell_len(text)
    segments += half_block_line(upper[start:], lower[start:], indexed=indexed)
    return Strip(segments)


@lru_cache(maxsize=65536)
def _style(above: int, below: int, indexed: bool) -> Style:
    back = _colour(below, indexed)
    return Style(color=back if above == below else _colour(above, indexed), bgcolor=back)


@lru_cache(maxsize=16384)
def _colour(code: int, indexed: bool) -> Color:
    if indexed:
        return Color.from_ansi(code)
    return Color.from_rgb(code >> 16, code >> 8 & 255, code & 255)


def _mean(above: int, below: int, *, indexed: bool) -> Color:
    if indexed or above == below:
        return _colour(below, indexed)
    one, other = ((code >> 16, code >> 8 & 255, code & 255) for code in (above, below))
    red, green, blue = ((a + b) // 2 for a, b in zip(one, other, strict=True))
    return Color.from_rgb(red, green, blue)


def cells_that_differ(old: Codes, new: Codes) -> list[tuple[int, int, int]]:
    """Return (line of cells, first column, end) of what differs between two renderings of one
    shape."""
    changed: Any = (old != new).reshape(old.shape[0] // 2, 2, -1).any(axis=1)
    found = []
    for line in np.flatnonzero(changed.any(axis=1)):
        columns = np.flatnonzero(changed[line])
        found.append((int(line), int(columns[0]), int(columns[-1]) + 1))
    return found
