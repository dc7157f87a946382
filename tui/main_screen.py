"""The main screen: picture, prompt and answer beside (or above) the table and the views below
it."""

from __future__ import annotations

from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.containers import Container
from textual.reactive import Reactive
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Static

from tui.actions.keymap import Keymap
from tui.views.lower_slot import LowerSlot
from tui.views.picture.preview import Preview
from tui.views.prompt.prompt_editor import PromptEditor
from tui.views.strip.strip import PromptStrip
from tui.views.table.lens_table import LensTable
from tui.widgets.find_line import FindLine
from tui.widgets.half_blocks import Colours
from tui.widgets.status import KeyBar, Line
from tui.widgets.view_context import ViewContext

_WIDTHS = [(0, "-tiny"), (60, "-narrow"), (100, "-wide"), (160, "-huge")]
_SLENDER = range(100, 118)
"""Widths at which a narrower side leaves every token column of the table room for its bar."""
_HEIGHTS = [(0, "-flat"), (16, "-short"), (32, "-tall")]

_ROOMY_DETAIL = 13
_LOW = 20
"""Below this height the table and the grid, one above the other, would have no rows."""
_AROUND_TABLE = 6
"""Lines above and below the panes, plus the table's border and header."""
_TABLE_FRAME = 3
"""Lines of the table besides its rows: border and header."""
_AROUND_COLUMN = 4
"""Lines above and below the column of the table: title, message, keys and the prompt's strip."""
_STRIP = {"-short": 6, "-tall": 12}
"""Lines of the strip above the column where the screen is narrow."""
_BRIEF_DETAIL = 8
_ROOM_TO_FILL = 24
"""Lines below the table's last row from which the views there fill them. With fewer, they would
hold little more than they do, and every rest of the cursor would send more than 1 kB."""


class MainScreen(Screen[None]):
    """Lays out the panes, independently of what runs they show."""

    # Textual repaints the whole screen whenever the focus moves (50 kB with a picture); the
    # widgets that look different with the focus repaint themselves.
    focused: Reactive[Widget | None] = Reactive(None, repaint=False)

    VIEW: ClassVar[str] = "table"
    HORIZONTAL_BREAKPOINTS = _WIDTHS
    VERTICAL_BREAKPOINTS = _HEIGHTS
    AUTO_FOCUS = "LensTable"

    def __init__(
        self,
        prompt: str,
        keymap: Keymap,
        context: ViewContext,
        *,
        blink: bool,
        colours: Colours,
        picture: bool,
    ) -> None:
        super().__init__()
        self._keymap = keymap
        self._prompt = prompt
        self._ascii = context.ascii_only
        self._blink = blink
        self._colours = colours
        self._picture = picture
        self._height = 0
        self._rows = 0
        self.table = LensTable(ascii_only=self._ascii)
        """The table of layers; its cursor can still be read after it has left the screen."""
        self.table.border_title = "layers"
        self.strip = PromptStrip(ascii_only=self._ascii)
        """The prompt as the model gets it."""
        self.lower = LowerSlot(self, context, self._lay_out)
        """The views below the table."""
        self.set_class(self._ascii, "-ascii")
        self.set_class(not picture, "-no-picture")

    def compose(self) -> ComposeResult:
        """Lay out everything; sizes are in lenscope.tcss."""
        yield Line("title")
        with Container(id="body"):
            with Container(id="side"):
                yield Preview(colours=self._colours)
                with Container(id="asking"):
                    editor = PromptEditor(self._prompt, blink=self._blink)
                    editor.border_title = "prompt"
                    yield editor
                    answer = Line("answer")
                    answer.border_title = "answer"
                    yield answer
            with Container(id="reading"):
                yield self.strip
                yield self.table
                yield from self.lower.at_start()
        yield Line("message")
        yield FindLine()
        yield KeyBar(self._keymap)
        yield Static("lenscope needs 60 x 16 cells; ctrl+q quits", id="too-small", markup=False)

    def on_resize(self, event: events.Resize) -> None:
        """Choose what is shown by the new size."""
        self._height = event.size.height
        self._lay_out()

    def make_room_for(self, rows: int) -> None:
        """Give the layer detail ten lines if the table leaves room for them."""
        if rows != self._rows:
            self._rows = rows
            self._lay_out()

    def toggle_picture(self) -> bool:
        """Show or hide the picture; return whether it is now visible."""
        self._picture = not self._picture
        self.set_class(not self._picture, "-no-picture")
        return self._picture

    @property
    def shows_picture(self) -> bool:
        """Whether the picture pane is visible."""
        return self._picture

    @property
    def preview(self) -> Preview:
        """The picture pane."""
        return self.query_one(Preview)

    @property
    def editor(self) -> PromptEditor:
        """The prompt editor."""
        return self.query_one(PromptEditor)

    @property
    def find_line(self) -> FindLine:
        """The line in which a token to find is typed."""
        return self.query_one(FindLine)

    def line(self, name: str) -> Line:
        """Return one of the lines: title, answer or message."""
        return self.query_one(f"#{name}", Line)

    def back_to_table(self) -> None:
        """Focus the table immediately: after `focus()` a quickly typed key would still go to the
        widget that had the focus."""
        self.set_focus(self.table)

    def on_descendant_focus(self) -> None:
        """Update the key bar: letters act only outside the editor."""
        self.query_one(KeyBar).editing = isinstance(self.focused, PromptEditor)

    def _lay_out(self) -> None:
        crowded = self._rows + _AROUND_TABLE + _ROOMY_DETAIL > self._height
        self.set_class(crowded, "-crowded")
        self.set_class(self._height < _LOW, "-low")
        width = self.app.size.width
        self.set_class(width in _SLENDER, "-slender")
        below = self._lines_below(width)
        is_short = self._height < dict(_named(_HEIGHTS))["-tall"]
        self.set_class(self._rows > 0 and is_short and below >= _BRIEF_DETAIL, "-roomy")
        fills = self._rows > 0 and below >= _ROOM_TO_FILL and self.lower.fills
        self.set_class(fills, "-filled")
        self.table.styles.height = self._rows + _TABLE_FRAME if fills else None

    def _lines_below(self, width: int) -> int:
        """Return how many lines the rows of the table leave free in its column."""
        is_narrow = width < dict(_named(_WIDTHS))["-wide"]
        is_tall = self._height >= dict(_named(_HEIGHTS))["-tall"]
        strip = _STRIP["-tall" if is_tall else "-short"] if is_narrow else 0
        return self._height - _AROUND_COLUMN - strip - self._rows - _TABLE_FRAME


def _named(breakpoints: list[tuple[int, str]]) -> list[tuple[str, int]]:
    return [(name, least) for least, name in breakpoints]
