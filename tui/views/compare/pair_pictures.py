"""The pictures of two runs side by side, below their table."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from textual.strip import Strip
from textual.widget import Widget

from engine.counterfactuals.grammar import label
from engine.errors import LenscopeError
from tui.state.run_view import RunView
from tui.widgets.background import in_background
from tui.widgets.half_blocks import Colours, centred, centred_words, picture_strips
from tui.widgets.thumb import open_thumb

if TYPE_CHECKING:
    from PIL.Image import Image

_GAP: Final = 2


class PairPictures(Widget):
    """Shows both pictures, or why there is none; they are opened when it is."""

    ALLOW_SELECT = False
    DEFAULT_CSS = """
    PairPictures { height: 40%; width: 100%; display: none; }
    PairPictures.-open { display: block; }
    PairPictures.-large { height: 80%; }
    """

    def __init__(self, *, ascii_only: bool) -> None:
        super().__init__()
        self._ascii = ascii_only
        self._sides: tuple[RunView, ...] = ()
        self._opened: list[Image | str] = []
        self._drawn: list[list[Strip]] = []

    def show(self, sides: tuple[RunView, RunView]) -> None:
        """Show the pictures of two runs."""
        if sides == self._sides:
            return
        self._sides, self._opened, self._drawn = sides, [], []
        if self.has_class("-open"):
            self._open()

    def toggle(self, *, large: bool) -> None:
        """Open it, small or large; close it if it is open like that."""
        is_open = self.has_class("-open") and self.has_class("-large") == large
        self.set_class(large, "-large")
        self.set_class(not is_open, "-open")
        if not (is_open or self._opened):
            self._open()

    def _open(self) -> None:
        in_background(self.app, partial(_open_all, self._sides), self._put)

    def _put(self, opened: list[Image | str]) -> None:
        if self.is_attached:
            self._opened, self._drawn = opened, []
            self.refresh()

    def on_resize(self) -> None:
        """Draw the pictures again for the new size."""
        self._drawn = []

    def render_line(self, y: int) -> Strip:
        """Draw a line of both pictures."""
        width, height = self.size
        half, base = max((width - _GAP) // 2, 1), self.rich_style
        if not self._opened:
            return Strip.blank(width, base)
        if not self._drawn and not self._ascii:
            self._drawn = [self._draw(shown, half, height) for shown in self._opened]
        strips = []
        for index, shown in enumerate(self._opened):
            if self._ascii or isinstance(shown, str):
                words = shown if isinstance(shown, str) else "no pictures with --ascii"
                room = (half, height)
                strip = centred_words(
                    words, y, room, base, self.app.console, ascii_only=self._ascii
                ).adjust_cell_length(half, base)
            else:
                strip = centred(self._drawn[index], y, half, height, base)
            strips.append(strip)
        return Strip.join([strips[0], Strip.blank(width - 2 * half, base), strips[1]])

    def _draw(self, shown: Image | str, width: int, height: int) -> list[Strip]:
        if isinstance(shown, str):
            return []
        colours: Colours = getattr(self.app, "picture_colours", Colours.INDEXED)
        return picture_strips(shown, width, height, colours=colours)


def _open_all(sides: tuple[RunView, ...]) -> list[Image | str]:
    return [_open_one(side) for side in sides]


def _open_one(view: RunView) -> Image | str:
    from engine.pictures.opening import open_preview

    question = view.run.question
    try:
        if question.counterfactual is not None:
            if view.seen is None:
                return f"instead of the picture: {label(question.counterfactual)}"
            return open_preview(view.seen.preview)
        if question.picture is None:
            return "no picture"
        return open_thumb(question.picture, of_run=True)[0]
    except LenscopeError as error:
        return str(error)
