"""A matrix of steps, such as layers x heads, as lines of cells: half-blocks, or marks where there
are no colours. Only the part around a place is drawn where not all of it fits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from rich.segment import Segment
from rich.style import Style

from tui.state.maps import NO_STEP, STEPS, Steps
from tui.widgets.pixel_lines import Codes, codes_of, half_block_line
from tui.widgets.tint import Ramp

_WIDEST: Final = 3
_WIDEST_COLOURED: Final = 6
"""Cells for each column, if there is room: a mark stands alone in them, a colour fills them."""


@dataclass(frozen=True)
class Window:
    """Which rows and columns are visible, and how many cells each column has."""

    pitch: int
    top: int
    left: int
    down: int
    across: int
    rows_a_line: int

    @property
    def width(self) -> int:
        """How many cells a line has."""
        return self.pitch * self.across

    def lines(self, rows: int) -> range:
        """Return the first row of every visible line of a matrix of so many rows."""
        return range(self.top, min(self.top + self.down, rows), self.rows_a_line)

    def place_at(self, x: int, y: int, rows: int) -> tuple[int, int] | None:
        """Return the (row, column) at a cell of the drawn lines, None outside of them."""
        row = self.top + y * self.rows_a_line
        if not (0 <= x < self.width and y >= 0 and row < min(self.top + self.down, rows)):
            return None
        return row, self.left + x // self.pitch


def window_of(
    shape: tuple[int, int], here: tuple[int, int], room: tuple[int, int], *, halves: bool
) -> Window:
    """Return the part of (rows, columns) around a place that fits into (cells, lines); with
    `halves`, a line has two rows where not every row can have its own."""
    rows, columns = shape
    each = 2 if halves and rows > room[1] else 1
    wide, widest = max(room[0], 1), _WIDEST_COLOURED if halves else _WIDEST
    pitch = next((pitch for pitch in range(widest, 1, -1) if pitch * columns <= wide), 1)
    across = max(min(wide // pitch, columns), 1)
    down = max(min(room[1] * each, rows), each)
    top = min(max(here[0] - down // 2, 0), max(rows - down, 0))
    left = min(max(here[1] - across // 2, 0), max(columns - across, 0))
    # Rounded up: the last line of an odd number of rows is half-filled, instead of not drawn.
    return Window(pitch, top + top % each, left, down, across, each)


def block_lines(
    steps: Steps,
    window: Window,
    here: tuple[int, int] | None,
    ramp: Ramp,
    background: tuple[int, int, int],
    *,
    indexed: bool,
) -> list[list[Segment]]:
    """Return coloured lines of one row or two, in which the place under the cursor has a colour of
    its own."""
    others = np.array([[background, ramp.frame]], np.uint8)
    # The nearest of 256 colours would tell neighbouring steps less apart.
    colours = np.array([ramp.colours], np.uint8)
    of_steps = [dark for dark, _, _ in ramp.of_256] if indexed else codes_of(colours, indexed=False)
    codes = np.append(of_steps, codes_of(others, indexed=indexed)[0]).astype(np.int32)
    seen = _seen(steps, window)
    chosen = np.where(seen == NO_STEP, STEPS, seen).astype(np.intp)
    if here is not None:
        y, x = here[0] - window.top, here[1] - window.left
        if 0 <= y < chosen.shape[0] and 0 <= x < chosen.shape[1]:
            chosen[y, x] = STEPS + 1
    if window.rows_a_line == 1:
        chosen = chosen.repeat(2, axis=0)
    elif chosen.shape[0] % 2:
        chosen = np.vstack([chosen, np.full((1, chosen.shape[1]), STEPS, np.intp)])
    pixels: Codes = codes[chosen].repeat(window.pitch, axis=1)
    return [
        half_block_line(upper.tolist(), lower.tolist(), indexed=indexed)
        for upper, lower in zip(pixels[::2], pixels[1::2], strict=True)
    ]


def mark_lines(
    steps: Steps, window: Window, here: tuple[int, int] | None, marks: str, blank: Style
) -> list[list[Segment]]:
    """Return lines of marks, one of `marks` for each step, in which the place under the cursor is
    reversed."""
    reverse = blank + Style(reverse=True, bold=True)
    lines = []
    for y, row in enumerate(_seen(steps, window).tolist(), window.top):
        line = []
        for x, step in enumerate(row, window.left):
            mark = " " if step == NO_STEP else marks[step]
            line.append(Segment(mark.ljust(window.pitch), reverse if (y, x) == here else blank))
        lines.append(line)
    return lines


def _seen(steps: Steps, window: Window) -> Steps:
    down = slice(window.top, window.top + window.down)
    seen: Steps = steps[down, window.left : window.left + window.across]
    return seen
