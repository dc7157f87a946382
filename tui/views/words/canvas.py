"""The picture under the map, with one patch framed. Only what changes is drawn again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.geometry import Region
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from tui.views.words.maps import Steps
from tui.views.words.tint import Plan
from tui.widgets.half_blocks import centred_words
from tui.widgets.pixel_lines import Codes, Marks, cells_that_differ, marked_line

_NO_MARKS: Final[Marks] = {}


class PictureCanvas(Widget):
    """Shows a plan of the picture, or a sentence in its place."""

    ALLOW_SELECT = False

    @dataclass
    class Picked(Message):
        """A patch has been clicked."""

        patch: int

    def __init__(self, *, ascii_only: bool = False) -> None:
        super().__init__()
        self._ascii = ascii_only
        self._plan: Plan | None = None
        self._steps: Steps | None = None
        self._framed: int | None = None
        self._marks: Mapping[int, Marks] = {}
        self._codes: Codes | None = None
        self._strips: list[Strip] = []
        self._words = ""

    @property
    def drawn(self) -> bool:
        """Whether a picture is visible."""
        return bool(self._strips)

    def say(self, words: str) -> None:
        """Show a sentence in place of a picture."""
        if (words, None) != (self._words, self._plan):
            self._words, self._plan, self._codes, self._strips = words, None, None, []
            self.refresh()

    def show(
        self,
        plan: Plan,
        steps: Steps | None,
        framed: int | None,
        marks: Mapping[int, Marks] | None = None,
    ) -> None:
        """Show a plan of the picture with the steps of all patches, one patch framed, and marks in
        some lines."""
        marks = marks or {}
        codes = plan.pixels(steps, framed)
        same = self._codes is not None and self._codes.shape == codes.shape and not self._words
        before, old_marks = self._codes, self._marks
        self._plan, self._codes, self._marks, self._words = plan, codes, marks, ""
        if not same or before is None:
            self._strips = [self._line(y) for y in range(codes.shape[0] // 2)]
            self.refresh()
            return
        left, top = self._corner
        regions = []
        for y, start, end in cells_that_differ(before, codes):
            self._strips[y] = self._line(y)
            regions.append(Region(left + start, top + y, end - start, 1))
        for y in marks.keys() | old_marks.keys():
            if marks.get(y, _NO_MARKS) != old_marks.get(y, _NO_MARKS):
                self._strips[y] = self._line(y)
                regions.append(Region(left, top + y, codes.shape[1], 1))
        if regions:
            self.refresh(*regions)

    def render_line(self, y: int) -> Strip:
        """Draw a line, centred."""
        width, height = self.size
        blank = self.rich_style
        if self._words:
            return centred_words(
                self._words, y, (width, height), blank, self.app.console, ascii_only=self._ascii
            )
        left, top = self._corner
        if not 0 <= y - top < len(self._strips):
            return Strip.blank(width, blank)
        line = self._strips[y - top]
        margin = [Segment(" " * left, blank)] if left else []
        return Strip([*margin, *line]).adjust_cell_length(width, blank)

    def on_click(self, event: events.Click) -> None:
        """Pick the clicked patch."""
        offset = event.get_content_offset(self)
        if offset is None or self._plan is None:
            return
        left, top = self._corner
        x, y = offset.x - left, 2 * (offset.y - top)
        for each in (y, y + 1):
            patch = self._plan.patch_at(x, each)
            if patch is not None:
                self.post_message(self.Picked(patch))
                return

    def _line(self, y: int) -> Strip:
        assert self._plan is not None
        assert self._codes is not None
        upper, lower = self._codes[2 * y].tolist(), self._codes[2 * y + 1].tolist()
        marks = self._marks.get(y, _NO_MARKS)
        return marked_line(upper, lower, marks, indexed=self._plan.indexed)

    @property
    def _corner(self) -> tuple[int, int]:
        if self._codes is None:
            return (0, 0)
        lines, columns = self._codes.shape[0] // 2, self._codes.shape[1]
        return (max((self.size.width - columns) // 2, 0), max((self.size.height - lines) // 2, 0))


def patch_marks(plan: Plan, words: Mapping[int, tuple[str, Style]]) -> dict[int, Marks]:
    """Return line -> marks for words in the middle of patches; `words` maps patches to shown
    text."""
    from rich.cells import cell_len

    from tui.text.show import show_pieces

    lines: dict[int, dict[int, tuple[str, Style]]] = {}
    for patch, middle in zip(plan.patches.tolist(), plan.middles.tolist(), strict=True):
        if patch not in words:
            continue
        text, style = words[patch]
        y, x = middle
        column = max(x - cell_len(text) // 2, 0)
        line = lines.setdefault(y // 2, {})
        for piece in show_pieces(text, spaces=False):
            if column + piece.width <= plan.shape[1]:
                line[column] = (piece.text, style)
            column += piece.width
    return dict(lines)
