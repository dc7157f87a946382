"""The one screen: picture, prompt and answer beside (or above) the table and what has been opened
below it."""

from __future__ import annotations

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
from tui.views.table.find_line import FindLine
from tui.views.table.lens_table import LensTable
from tui.widgets.status import KeyBar, Line
from tui.widgets.view_context import ViewContext

_WIDTHS = [(0, "-tiny"), (60, "-narrow"), (100, "-wide"), (160, "-huge")]
_HEIGHTS = [(0, "-flat"), (16, "-short"), (32, "-tall")]

_ROOMY_DETAIL = 13
_AROUND_TABLE = 6
"""Lines above and below the panes, the table's border and its header."""


class MainScreen(Screen[None]):
    """Lays out the panes; knows nothing of runs."""

    # Textual repaints the whole screen whenever the focus moves (50 kB with a picture); the
    # widgets that look different with the focus repaint themselves.
    focused: Reactive[Widget | None] = Reactive(None, repaint=False)

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
        truecolour: bool,
        picture: bool,
    ) -> None:
        super().__init__()
        self._keymap = keymap
        self._prompt = prompt
        self._ascii = context.ascii_only
        self._blink = blink
        self._truecolour = truecolour
        self._picture = picture
        self._height = 0
        self._rows = 0
        self.table = LensTable(ascii_only=self._ascii)
        """The table of layers; its cursor is known when it has gone from the screen, too."""
        self.table.border_title = "layers"
        self.lower = LowerSlot(self, context)
        """What is open below the table."""
        self.set_class(self._ascii, "-ascii")
        self.set_class(not picture, "-no-picture")

    def compose(self) -> ComposeResult:
        """Lay out everything; sizes are in lenscope.tcss."""
        yield Line("title")
        with Container(id="body"):
            with Container(id="side"):
                yield Preview(truecolour=self._truecolour)
                with Container(id="asking"):
                    editor = PromptEditor(self._prompt, blink=self._blink)
                    editor.border_title = "prompt"
                    yield editor
                    answer = Line("answer")
                    answer.border_title = "answer"
                    yield answer
            with Container(id="reading"):
                yield self.table
                yield from self.lower.at_start()
        yield Line("message")
        yield FindLine()
        yield KeyBar(self._keymap)
        yield Static("lenscope needs 60 x 16 cells; ctrl+q quits", id="too-small", markup=False)

    def on_resize(self, event: events.Resize) -> None:
        """What fits depends on the height."""
        self._height = event.size.height
        self._lay_out()

    def make_room_for(self, rows: int) -> None:
        """Give the detail ten lines where the table does not need them."""
        if rows != self._rows:
            self._rows = rows
            self._lay_out()

    def toggle_picture(self) -> bool:
        """Show or hide the picture; return whether it shows now."""
        self._picture = not self._picture
        self.set_class(not self._picture, "-no-picture")
        return self._picture

    @property
    def shows_picture(self) -> bool:
        """Whether the picture has its place."""
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
        """Where a token to find is typed."""
        return self.query_one(FindLine)

    def line(self, name: str) -> Line:
        """Return one of the lines: title, answer or message."""
        return self.query_one(f"#{name}", Line)

    def back_to_table(self) -> None:
        """Give the table the focus, at once: after `focus()` the next key, typed fast, would go
        where the focus was."""
        self.set_focus(self.table)

    def on_descendant_focus(self) -> None:
        """Letters act outside the editor only; the key bar says which."""
        self.query_one(KeyBar).editing = isinstance(self.focused, PromptEditor)

    def _lay_out(self) -> None:
        crowded = self._rows + _AROUND_TABLE + _ROOMY_DETAIL > self._height
        self.set_class(crowded, "-crowded")
