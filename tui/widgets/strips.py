"""Helpers for widgets that draw their own lines: build strips, compare them, and redraw only
changes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import repeat

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

Cell = tuple[str, Style | None]


def strip_of(segments: Iterable[tuple[str, Style]], width: int, blank: Style) -> Strip:
    """Return a strip of exactly `width` cells; neighbours with the same style become one segment.

    A blank bar or gap looks the same in every foreground, so it joins the segment before it: each
    change of style costs about forty bytes.
    """
    merged: list[tuple[str, Style]] = []
    for text, style in segments:
        if not text:
            continue
        last = merged[-1][1] if merged else None
        if last is not None and (last is style or last == style or _looks_same(text, style, last)):
            merged[-1] = (merged[-1][0] + text, last)
        else:
            merged.append((text, style))
    cells = sum(cell_len(text) for text, _ in merged)
    if cells < width:
        merged.append((" " * (width - cells), blank))
    strip = Strip([Segment(text, style) for text, style in merged], max(cells, width))
    return strip if cells <= width else strip.adjust_cell_length(width, blank)


def changed_span(old: Strip | None, new: Strip) -> tuple[int, int] | None:
    """Return the first cell that differs and the end of the span, or None if the strips look
    alike."""
    if old is None or old.cell_length != new.cell_length:
        return (0, new.cell_length)
    one, other = list(old), list(new)
    skipped = _trim(one, other)
    before, after = _cells(one), _cells(other)
    pairs = list(zip(before, after, strict=True))
    first = next((index for index, pair in enumerate(pairs) if _differ(*pair)), None)
    if first is None:
        return None
    last = next(index for index in range(len(pairs) - 1, -1, -1) if _differ(*pairs[index]))
    # The span must not begin or end inside a wide character, old or new.
    while first and not (after[first][0] and before[first][0]):
        first -= 1
    end = last + 1
    while end < len(after) and not (after[end][0] and before[end][0]):
        end += 1
    return (skipped + first, skipped + end)


def _trim(one: list[Segment], other: list[Segment]) -> int:
    """Take the segments off both ends that are the same in both; return the cells before what is
    left. Most of a line is the same most of the time, and cells are slow to compare."""
    while one and other and one[-1] == other[-1]:
        one.pop()
        other.pop()
    same = 0
    while same < min(len(one), len(other)) and one[same] == other[same]:
        same += 1
    # What combines with the character before it belongs to that one's cell.
    while same and any(_combines(rest[same].text) for rest in (one, other) if same < len(rest)):
        same -= 1
    skipped = sum(segment.cell_length for segment in one[:same])
    del one[:same], other[:same]
    return skipped


@lru_cache(4096)
def _is_one_cell_each(text: str) -> bool:
    return all(cell_len(char) == 1 for char in text)


def _combines(text: str) -> bool:
    return bool(text) and not text[0].isascii() and not cell_len(text[0])


def changed_regions(old: Sequence[Strip], new: Sequence[Strip]) -> list[Region]:
    """Return the regions in which two renderings of the same height differ, for
    `Widget.refresh`."""
    spans = [changed_span(*pair) for pair in zip(old, new, strict=True)]
    return [
        Region(span[0], y, span[1] - span[0], 1) for y, span in enumerate(spans) if span is not None
    ]


def redraw_changes(widget: Widget, old: Sequence[Strip], new: Sequence[Strip]) -> None:
    """Redraw what differs between two renderings of a widget: all of it after a change of
    height."""
    if len(old) != len(new):
        widget.refresh()
    elif regions := changed_regions(old, new):
        widget.refresh(*regions)


def _cells(segments: Iterable[Segment]) -> list[Cell]:
    cells: list[Cell] = []
    for text, style, _control in segments:
        if _is_one_cell_each(text):
            cells += zip(text, repeat(style), strict=False)
            continue
        for char in text:
            width = cell_len(char)
            if width == 0 and cells:
                cells[-1] = (cells[-1][0] + char, cells[-1][1])
                continue
            cells.append((char, style))
            cells.extend([("", style)] * (width - 1))
    return cells


def _differ(one: Cell, other: Cell) -> bool:
    if one[0] != other[0]:
        return True
    if one[0] == " " and one[1] is not None and other[1] is not None:
        return not _looks_same(" ", one[1], other[1])
    return one[1] != other[1]


def _looks_same(text: str, style: Style, other: Style) -> bool:
    return (
        text.isspace()
        and style.bgcolor == other.bgcolor
        and not (style.reverse or other.reverse)
        and not (style.underline or other.underline or style.strike or other.strike)
    )
