"""Text as cells: what a terminal puts into each column."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from rich.cells import split_graphemes
from rich.color import ColorSystem
from rich.segment import Segment

from tui.terminal.pens import Pen, blank_pen, has_two_colours, pen_of, turned

UPPER_HALF: Final = "▀"
LOWER_HALF: Final = "▄"
SECOND_HALF: Final = ""
"""What stands in the second column of a wide character."""

_CONTROLS: Final = dict.fromkeys((*range(32), *range(127, 160)))

_AGREED_WIDTHS: Final = (
    (0x20, 0x7E), (0xA0, 0xAC), (0xAE, 0x2FF), (0x370, 0x482), (0x2010, 0x2027), (0x2030, 0x205E),
    (0x2190, 0x2319), (0x2400, 0x2426), (0x2500, 0x25FC), (0x2800, 0x28FF),  # one column
    (0x3041, 0x3096), (0x30A1, 0x30FF), (0x4E00, 0x9FFF), (0xAC00, 0xD7A3),  # two columns
)  # fmt: skip


@lru_cache(maxsize=8192)
def cells_of_text(text: str) -> tuple[str, ...]:
    """Return what the text puts into each column, as Rich measures it: a character with its
    combining marks, or `SECOND_HALF` after a wide one. Control characters are left out; marks
    without a character before them, too."""
    text = text.translate(_CONTROLS)
    if text.isascii():
        return tuple(text)
    cells: list[str] = []
    spans, _ = split_graphemes(text)
    for start, end, width in spans:
        if width:
            cells.append(text[start:end])
            cells.extend([SECOND_HALF] * (width - 1))
    return tuple(cells)


@lru_cache(maxsize=4096)
def is_width_agreed(cell: str) -> bool:
    """Whether all terminals give the cell's characters the same number of columns."""
    return len(cell) == 1 and any(first <= ord(cell) <= last for first, last in _AGREED_WIDTHS)


def cells_of(segments: Iterable[Segment], system: ColorSystem) -> tuple[list[str], list[Pen]]:
    """Return characters and pens, column by column. What looks the same is the same: blanks have
    no foreground (`blank_pen`), of two colours the upper half is the character, and two halves of
    one colour are a blank."""
    characters: list[str] = []
    pens: list[Pen] = []
    for segment in segments:
        if segment.control:
            continue
        cells, looks = _looks(segment.text, pen_of(segment.style, system))
        characters += cells
        pens += looks
    return characters, pens


@lru_cache(maxsize=8192)
def _looks(text: str, pen: Pen) -> tuple[tuple[str, ...], tuple[Pen, ...]]:
    cells = cells_of_text(text)
    has_halves = LOWER_HALF in text or (UPPER_HALF in text and pen.foreground == pen.background)
    if has_halves and has_two_colours(pen):
        looks = [_half_block(cell, pen) for cell in cells]
        return tuple(cell for cell, _ in looks), tuple(look for _, look in looks)
    if " " not in text:
        return cells, (pen,) * len(cells)
    blank = blank_pen(pen)
    return cells, tuple(blank if cell == " " else pen for cell in cells)


def _half_block(cell: str, pen: Pen) -> tuple[str, Pen]:
    """Return one of the ways to draw the same two halves."""
    if cell in (UPPER_HALF, LOWER_HALF):
        if pen.foreground == pen.background:
            return " ", blank_pen(pen)
        if cell == LOWER_HALF:
            return UPPER_HALF, turned(pen)
    return cell, blank_pen(pen) if cell == " " else pen
