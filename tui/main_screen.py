"""The one screen: picture, prompt and answer beside (or above) the table and its detail."""

from __future__ import annotations

from textual import events
from textual.app import ComposeResult
from textual.containers import Container
from textual.reactive import Reactive
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Static

from tui.actions.keymap import Keymap
from tui.state.measures import Measure
from tui.views.detail.detail import Detail
from tui.views.picture.preview import Preview
from tui.views.plot.trajectories import Trajectories
from tui.views.prompt.prompt_editor import PromptEditor
from tui.views.table.find_line import FindLine
from tui.views.table.lens_table import LensTable
from tui.widgets.status import KeyBar, Line

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
        *,
        measure: Measure,
        ascii_only: bool,
        blink: bool,
        truecolour: bool,
        picture: bool,
    ) -> None:
        super().__init__()
        self._keymap = keymap
        self._measure = measure
        self._prompt = prompt
        self._ascii = ascii_only
        self._blink = blink
        self._truecolour = truecolour
        self._picture = picture
        self._height = 0
        self._detail_was_open = False
        self._rows = 0
        self.set_class(ascii_only, "-ascii")
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
                table = LensTable(ascii_only=self._ascii)
                table.border_title = "layers"
                yield table
                detail = Detail(ascii_only=self._ascii)
                detail.border_title = "layer detail"
                yield detail
                yield Trajectories(ascii_only=self._ascii, measure=self._measure)
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

    def toggle_detail(self) -> None:
        """Open or close the detail."""
        wanted = not self.detail_open
        self.remove_class("-detail-zoomed")
        self.set_class(wanted, "-detail-on")
        self.set_class(not wanted, "-detail-off")

    def toggle_detail_zoom(self) -> None:
        """Give the detail most of the column, or its usual place."""
        if self.has_class("-detail-zoomed"):
            self.remove_class("-detail-zoomed")
            self.set_class(self._detail_was_open, "-detail-on")
            self.set_class(not self._detail_was_open, "-detail-off")
        else:
            self._detail_was_open = self.detail_open
            self.add_class("-detail-zoomed", "-detail-on").remove_class("-detail-off")

    def toggle_plot(self) -> None:
        """Open or close the plot."""
        self.toggle_class("-plot")

    def toggle_picture(self) -> bool:
        """Show or hide the picture; return whether it shows now."""
        self._picture = not self._picture
        self.set_class(not self._picture, "-no-picture")
        return self._picture

    @property
    def detail_open(self) -> bool:
        """Whether the detail shows."""
        return self.query_one(Detail).display

    @property
    def plot_open(self) -> bool:
        """Whether the plot shows."""
        return self.query_one(Trajectories).display

    def on_descendant_focus(self) -> None:
        """Letters act outside the editor only; the key bar says which."""
        self.query_one(KeyBar).editing = isinstance(self.focused, PromptEditor)

    def _lay_out(self) -> None:
        crowded = self._rows + _AROUND_TABLE + _ROOMY_DETAIL > self._height
        self.set_class(crowded, "-crowded")
