"""The map as a grid of marks, for terminals without colours: a mark for every patch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.strip import Strip
from textual.widget import Widget

from tui.state.maps import NO_STEP, Steps
from tui.state.patches import Patches
from tui.widgets.half_blocks import centred_words
from tui.widgets.matrix_cells import Window, window_of
from tui.widgets.picture_canvas import PictureCanvas
from tui.widgets.strips import redraw_changes

MARKS: Final = " .:-=+*#"
"""From the lowest step to the highest."""
SIGNED_MARKS: Final = "%=-.'+*#"
"""The same around zero: from the most negative step to the most positive."""
UNREAD: Final = "?"
_ROOM_FOR_BRACKETS: Final = 3
"""Cells of a patch."""


@dataclass(frozen=True, eq=False)
class MarkGrid:
    """Where the patches of one sheet stand in lines of marks."""

    patches: dict[tuple[int, int], int]
    """(line, column) -> patch."""
    places: dict[int, tuple[int, int]]
    """Patch -> (line, column)."""
    lines: int
    columns: int

    def window(self, cursor: int | None, room: tuple[int, int]) -> Window:
        """Return the part around a patch that fits into (columns, lines) of cells."""
        here = self.places.get(-1 if cursor is None else cursor, (0, 0))
        return window_of((self.lines, self.columns), here, room, halves=False)


def mark_grid(patches: Patches, sheet: int) -> MarkGrid:
    """Return the grid of a sheet: patches in one line have their middles at one height.

    Middles that are nearer to each other than half of a patch share a line or a column.
    """
    shown = patches.sheets[sheet] if sheet < len(patches.sheets) else np.empty(0, np.intp)
    if not len(shown):
        return MarkGrid({}, {}, 0, 0)
    boxes = patches.boxes[shown]
    columns = _numbered(boxes[:, 0] + boxes[:, 2], boxes[:, 2] - boxes[:, 0])
    lines = _numbered(boxes[:, 1] + boxes[:, 3], boxes[:, 3] - boxes[:, 1])
    places = {
        int(patch): (int(line), int(column))
        for patch, line, column in zip(shown, lines, columns, strict=True)
    }
    by_place: dict[tuple[int, int], int] = {}
    for patch, place in places.items():
        by_place.setdefault(place, patch)
    return MarkGrid(by_place, places, int(lines.max()) + 1, int(columns.max()) + 1)


def _numbered(
    doubled: np.ndarray[tuple[int], np.dtype[np.float64]],
    sizes: np.ndarray[tuple[int], np.dtype[np.float64]],
) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
    """Number middles (given doubled) from the smallest on."""
    order = np.argsort(doubled, kind="stable")
    steps = np.diff(doubled[order]) > np.median(sizes)
    numbers = np.empty(len(doubled), np.intp)
    numbers[order] = np.concatenate([[0], np.cumsum(steps)])
    return numbers


def draw_marks(
    grid: MarkGrid,
    steps: Steps | None,
    cursor: int | None,
    sinks: frozenset[int],
    window: Window,
    marks: str = MARKS,
) -> list[list[tuple[str, bool]]]:
    """Return the visible lines as (text, reversed), a text for each patch. The patch under the
    cursor is reversed, and in brackets where there is room for them."""
    drawn = []
    for y in range(window.top, window.top + window.down):
        pieces: list[tuple[str, bool]] = []
        for x in range(window.left, window.left + window.across):
            patch = grid.patches.get((y, x))
            mark = _mark(patch, steps, sinks, marks)
            here = patch is not None and patch == cursor
            text = f"[{mark}]" if here else f" {mark} "
            pieces.append(
                (text if window.pitch == _ROOM_FOR_BRACKETS else mark.ljust(window.pitch), here)
            )
        drawn.append(pieces)
    return drawn


def _mark(patch: int | None, steps: Steps | None, sinks: frozenset[int], marks: str) -> str:
    if patch is None:
        return " "
    if patch in sinks:
        return "x"
    step = NO_STEP if steps is None else int(steps[patch])
    return UNREAD if step == NO_STEP else marks[step]


class MarkCanvas(Widget):
    """Shows the map as marks, in place of the picture."""

    TITLE_TERM: ClassVar[str] = "patch"
    ALLOW_SELECT = False

    def __init__(self, *, ascii_only: bool) -> None:
        super().__init__()
        self._ascii = ascii_only
        self._words = ""
        self._grid: MarkGrid | None = None
        self._grid_of: tuple[Patches | None, int] = (None, 0)
        self._shown: tuple[Steps | None, int | None, frozenset[int]] = (None, None, frozenset())
        self._marks = MARKS
        self._strips: list[Strip] = []

    def say(self, words: str) -> None:
        """Show a sentence in place of the marks."""
        self._words, self._grid, self._strips = words, None, []
        self.refresh()

    def show(
        self,
        patches: Patches,
        sheet: int,
        steps: Steps | None,
        cursor: int | None,
        sinks: frozenset[int],
        marks: str = MARKS,
    ) -> None:
        """Show the steps of all patches of a sheet as marks, one of `marks` for each step."""
        if self._grid is None or (patches, sheet) != self._grid_of:
            self._grid, self._grid_of = mark_grid(patches, sheet), (patches, sheet)
        self._shown, self._words, self._marks = (steps, cursor, sinks), "", marks
        old, self._strips = self._strips, self._draw()
        redraw_changes(self, old, self._strips)

    def on_resize(self) -> None:
        """Fit the new size."""
        if self._grid is not None:
            self._strips = self._draw()
            self.refresh()

    def render_line(self, y: int) -> Strip:
        """Draw a line of marks."""
        width, height = self.size
        if self._words:
            return centred_words(
                self._words,
                y,
                (width, height),
                self.rich_style,
                self.app.console,
                ascii_only=self._ascii,
            )
        drawn = self._strips
        if self._grid is not None and (not drawn or drawn[0].cell_length != width):
            self._strips = self._draw()
        return self._strips[y] if y < len(self._strips) else Strip.blank(width, self.rich_style)

    def on_click(self, event: events.Click) -> None:
        """Pick the clicked patch."""
        offset = event.get_content_offset(self)
        if offset is None or self._grid is None:
            return
        window = self._window
        left, top = self._corner(window)
        place = (offset.y - top + window.top, (offset.x - left) // window.pitch + window.left)
        patch = self._grid.patches.get(place)
        if patch is not None:
            self.post_message(PictureCanvas.Picked(patch))

    @property
    def _window(self) -> Window:
        assert self._grid is not None
        return self._grid.window(self._shown[1], (self.size.width, self.size.height))

    def _corner(self, window: Window) -> tuple[int, int]:
        wide, high = window.width, window.down
        return (max((self.size.width - wide) // 2, 0), max((self.size.height - high) // 2, 0))

    def _draw(self) -> list[Strip]:
        assert self._grid is not None
        width, height = self.size
        blank = self.rich_style
        marked = blank + Style(reverse=True, bold=True)
        window = self._window
        left, top = self._corner(window)
        lines = [Strip.blank(width, blank)] * top
        for pieces in draw_marks(self._grid, *self._shown, window, self._marks):
            shown = [Segment(text, marked if here else blank) for text, here in pieces]
            line = Strip([Segment(" " * left, blank), *shown])
            lines.append(line.adjust_cell_length(width, blank))
        lines += [Strip.blank(width, blank)] * max(height - len(lines), 0)
        return lines[: max(height, 0)]
