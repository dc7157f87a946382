"""The prompt as the model gets it, on one line above the table."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from textual import events
from textual.strip import Strip
from textual.widget import Widget

from engine.records import PromptToken
from tui.state.run_view import RunView
from tui.views.strip.strip_line import StripLine, StripLook, StripText, strip_line
from tui.widgets.explaining import Caption, Kind
from tui.widgets.places import PlaceChosen
from tui.widgets.strips import redraw_changes, strip_of

_PARTS = ("faint", "system", "picture", "prefix", "mark", "answer")


class PromptStrip(Widget):
    """Shows the input tokens around the position under the cursor; a click goes to a token."""

    ALLOW_SELECT = False
    COMPONENT_CLASSES: ClassVar[set[str]] = {f"strip--{part}" for part in _PARTS}
    DEFAULT_CSS = """
    PromptStrip { width: 100%; height: 1; }
    PromptStrip > .strip--faint { color: $faint; }
    PromptStrip > .strip--system { color: $hue-3; }
    PromptStrip > .strip--picture { color: $primary; }
    PromptStrip > .strip--prefix { color: $hue-2; }
    PromptStrip > .strip--answer { color: $answer; }
    PromptStrip > .strip--mark { color: $answer; text-style: bold; }
    """

    def __init__(self, *, ascii_only: bool) -> None:
        super().__init__(id="strip")
        self._ascii = ascii_only
        self._of: tuple[str, bool, frozenset[int], tuple[PromptToken, ...]] | None = None
        self._text: StripText | None = None
        self._position = 0
        self._reach = 0
        self._drawn: tuple[StripText | None, int, int, int] | None = None
        """What the line was drawn from, besides the theme."""
        self._first = 0
        self._line = StripLine([], 0, ())
        self._strips: list[Strip] = []
        self._look: StripLook | None = None

    def captions(self) -> Iterable[Caption]:
        """Return the marks of the prompt."""
        return [Caption(0, kind=Kind.MARKS, marks="prompt")]

    def show(
        self,
        run: RunView | None,
        position: int,
        *,
        unfolded: bool,
        sinks: frozenset[int] = frozenset(),
        reach: int = 0,
    ) -> None:
        """Show the prompt of a run, and mark a position. `sinks` are marked besides those that the
        grid knows; tokens before `reach` are struck out."""
        if run is None:
            self._of = self._text = None
        else:
            own, cells = run.own, run.cells
            sinks |= cells.sinks if cells is not None else frozenset()
            tokens = own.run.tokens + run.answer_tokens
            of = (own.run.id, unfolded, sinks, tokens)
            if of != self._of:
                if self._of is None or (self._of[0], self._of[1]) != of[:2]:
                    self._first = 0
                self._of = of
                self._text = StripText(
                    tokens,
                    own.spans(unfolded=unfolded),
                    own.run.position,
                    sinks,
                    ascii_only=self._ascii,
                )
        drawn = (self._text, position, reach, self.size.width)
        if drawn != self._drawn or not self._strips:
            self._position, self._reach, self._drawn = position, reach, drawn
            self._draw_changes()

    def on_click(self, event: events.Click) -> None:
        """Go to the clicked token."""
        position = self._line.position_at(event.x)
        if position is not None:
            self.post_message(PlaceChosen(position))

    def on_resize(self) -> None:
        """Draw again for the new width, from as far back as it has room for."""
        self._first, self._strips, self._drawn = 0, [], None
        self.refresh()

    def notify_style_update(self) -> None:
        """Redraw with the colours of the new theme."""
        super().notify_style_update()
        self._look, self._strips = None, []

    def render_line(self, y: int) -> Strip:
        """Draw the line from what `show` has prepared."""
        if not self._strips or self._strips[0].cell_length != self.size.width:
            self._strips = self._draw()
        return self._strips[0] if y == 0 else Strip.blank(self.size.width, self.rich_style)

    def _draw_changes(self) -> None:
        before, self._strips = self._strips, self._draw()
        redraw_changes(self, before, self._strips)

    def _draw(self) -> list[Strip]:
        look, width = self._colours(), self.size.width
        if self._text is None:
            self._line = StripLine([], 0, ())
        else:
            self._line = strip_line(
                self._text, self._position, self._first, width, look, reach=self._reach
            )
            self._first = self._line.first
        return [strip_of(self._line.segments, width, look.text)]

    def _colours(self) -> StripLook:
        if self._look is None:
            base = self.rich_style
            found = {
                part: base + self.get_component_rich_style(f"strip--{part}") for part in _PARTS
            }
            self._look = StripLook(text=base, **found)
        return self._look
