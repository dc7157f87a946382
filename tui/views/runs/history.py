"""The list of the runs in the session."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical

from engine.events import Event
from tui.state.run_view import RunView
from tui.state.view_state import ViewState
from tui.text.show import plain_line
from tui.views.compare.compare import Compare
from tui.views.compare.pair_context import PairContext
from tui.views.compare.runs_plot import RunsPlot
from tui.views.runs.history_rows import HistoryList
from tui.views.runs.note_input import ask_note
from tui.widgets.captions import put_subtitle, put_title
from tui.widgets.find_line import FindLine
from tui.widgets.line_input import LineInput
from tui.widgets.listed_rows import ListScreen
from tui.widgets.row_list import RowList, place_text

_KEYS = "enter shows, b compares, P plots, r renames, # notes, D deletes, o sorts, / filters"


class History(ListScreen[RunView | None]):
    """Lists the runs; returns the one to show, or None if none was chosen."""

    VIEW: ClassVar[str] = "history"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "dismiss", show=False),
        Binding("enter", "show", show=False),
        Binding("r", "rename", show=False),
        Binding("D,delete", "delete", show=False),
        Binding("u", "undo", show=False),
        Binding("b", "compare", show=False),
        Binding("space", "mark", show=False),
        Binding("P", "plot", show=False),
        Binding("number_sign", "annotate", show=False),
    ]
    CSS = """
    History .dialog { width: 98%; max-width: 150; height: 84%; max-height: 60; padding: 0; }
    History.-ascii .dialog { border: ascii $primary; }
    """

    def __init__(
        self, state: ViewState, pairs: PairContext | None = None, *, ascii_only: bool
    ) -> None:
        """`pairs` is what a comparison is opened with."""
        super().__init__()
        self._state = state
        self._pairs = pairs or PairContext(ascii_only=ascii_only)
        self._ascii = ascii_only
        self._touched = False
        self._on: RunView | None = state.current
        """The run under the cursor, which is followed when other runs come and go."""
        self.set_class(ascii_only, "-ascii")

    def compose(self) -> ComposeResult:
        """Lay out the list in a box whose lower border says which keys act."""
        with Vertical(classes="dialog") as box:
            box.border_subtitle = _KEYS
            yield HistoryList(self._state, ascii_only=self._ascii)
            yield FindLine()

    def on_mount(self) -> None:
        """Put the cursor on the shown run."""
        self.refresh_runs()

    def hear(self, events: Sequence[Event]) -> None:
        """Show what has arrived."""
        self.refresh_runs()

    def refresh_runs(self) -> None:
        """Show the current runs; the cursor follows the shown run until the user moves it."""
        if not self.query(HistoryList):
            return  # not on the screen yet
        rows = self._rows
        rows.marked = [view for view in rows.marked if view in self._state.runs]
        target = self._on if self._touched else self._state.current
        rows.refresh_rows()
        if target is not None and target in rows.items:
            rows.put_cursor(rows.items.index(target))
        self._on = rows.chosen
        self._say_title()

    def on_row_list_touched(self) -> None:
        """Remember the run to which the user has moved the cursor."""
        self._touched = True
        self._on = self._rows.chosen
        self._say(_KEYS)

    def on_row_list_place_changed(self) -> None:
        """Show in the title which runs are visible."""
        self._say_title()

    @on(RowList.Chosen)
    def action_show(self) -> None:
        """Close the list and show the run under the cursor."""
        chosen = self._rows.chosen
        if chosen is not None:
            self._state.show(chosen)
            self.dismiss(chosen)

    def action_rename(self) -> None:
        """Ask for a title for the run under the cursor."""
        chosen = self._rows.chosen
        if chosen is None:
            return

        def take(title: str | None) -> None:
            if title is not None:
                self._state.rename(chosen, title)
                self.refresh_runs()

        self.app.push_screen(
            LineInput("title of this run", chosen.run.title or "", ascii_only=self._ascii), take
        )

    def action_annotate(self) -> None:
        """Ask for the tags and the note of the run under the cursor."""
        chosen = self._rows.chosen
        if chosen is not None:
            ask_note(self.app, self._state, chosen, self.refresh_runs, ascii_only=self._ascii)

    def action_delete(self) -> None:
        """Delete the run under the cursor."""
        row, chosen = self._rows.cursor, self._rows.chosen
        if chosen is None:
            return
        left = [run for run in self._rows.items if run is not chosen]
        if not self._state.delete(chosen):
            self._say("this run is still running: ctrl+c cancels it")
            return
        self._touched = True
        self._on = left[min(row, len(left) - 1)] if left else None
        self.refresh_runs()
        self._say("deleted: u brings it back")

    def action_undo(self) -> None:
        """Restore the run that was deleted last."""
        back = self._state.undo_delete()
        if back is None:
            self._say("nothing has been deleted")
            return
        self._on = back
        self.refresh_runs()
        self._say("brought back")

    def action_mark(self) -> None:
        """Mark the run under the cursor, or take its mark away."""
        rows, chosen = self._rows, self._rows.chosen
        if chosen is None:
            return
        if chosen in rows.marked:
            rows.marked.remove(chosen)
        else:
            rows.marked.append(chosen)
        marked = len(rows.marked)
        self._say(f"{marked} marked: b compares, P plots them" if marked else _KEYS)
        rows.refresh_rows()

    def action_compare(self) -> None:
        """Compare two marked runs, or the marked one with that under the cursor; mark it where
        none is."""
        rows, chosen = self._rows, self._rows.chosen
        if chosen is None:
            return
        if not rows.marked:
            rows.marked.append(chosen)
            self._say("b on another run compares the two")
        else:
            left, right = [*rows.marked, chosen][:2]
            rows.marked.clear()
            self._say(_KEYS)
            if left is not right:
                self.app.push_screen(Compare(left, right, self._pairs))
        rows.refresh_rows()

    def action_plot(self) -> None:
        """Plot the marked runs together; all that are listed where none is marked."""
        runs = [view for view in self._rows.marked or self._rows.items if view.rows]
        if runs:
            self.app.push_screen(RunsPlot(runs, ascii_only=self._ascii))
        else:
            self._say("no run with rows to plot")

    @property
    def rows(self) -> HistoryList:
        """The list."""
        return self._rows

    def order_changed(self) -> None:
        """Say how the list is sorted and filtered."""
        self._touched = True
        self._on = self._rows.chosen
        self._say_title()

    @property
    def _rows(self) -> HistoryList:
        return self.query_one(HistoryList)

    def _say(self, text: str) -> None:
        put_subtitle(self.query_one(Vertical), text)

    def _say_title(self) -> None:
        runs = self._state.runs
        unsaved = sum(run.worth_keeping and not run.saved for run in runs)
        listed = f"{self._rows.count} of " * (self._rows.count != len(runs))
        parts = [f"{listed}{len(runs)} run{'s' * (len(runs) != 1)}", place_text(self._rows)]
        parts += [plain_line(self._rows.order.words, ascii_only=self._ascii)]
        parts += [f"{unsaved} not saved (+)" * bool(unsaved)]
        parts += [f"{len(self._state.queued)} to come" * bool(self._state.queued)]
        put_title(self.query_one(Vertical), ", ".join(part for part in parts if part))
