"""The list of the runs in the session."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import ClassVar

from rich.style import Style
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen

from engine.events import Event
from tui.state.run_view import Phase, RunView
from tui.state.view_state import ViewState
from tui.text.numbers import FIGURE_WIDTH, figure, total_seconds
from tui.text.show import display_text
from tui.views.compare.compare import Compare
from tui.widgets.captions import put_subtitle, put_title
from tui.widgets.line_input import LineInput
from tui.widgets.row_list import RowList, place_text
from tui.widgets.styles import Segments, Styles

_KEYS = "enter shows, b compares, r renames, x deletes, u undoes, q closes"
_LEAST_NAME = 14
_PICTURE_FROM = 96
_NOTHING = " No runs yet: q closes this list, r runs the question."


@dataclass(frozen=True)
class HistoryColumns:
    """Column widths in cells; a column of width 0 is left out."""

    name: int
    picture: int
    answer: int
    number: int = 5
    row: int = 4
    norm: int = 5
    status: int = 14
    time: int = 7


def plan_history(width: int) -> HistoryColumns:
    """Return the columns that fit into `width` cells. The name takes what is left; if that is
    too little, time and norm are left out."""
    picture = min(24, width // 6) if width >= _PICTURE_FROM else 0
    answer = 9 if width < _PICTURE_FROM else 16
    plan = HistoryColumns(0, picture, answer)
    used = plan.number + 1 + (picture + 1 if picture else 0) + answer + 1 + FIGURE_WIDTH + 1
    used += plan.row + 1 + plan.norm + plan.status + plan.time + 1
    if width - used < _LEAST_NAME:
        used -= plan.time + plan.norm
        plan = replace(plan, time=0, norm=0)
    return replace(plan, name=max(width - used, _LEAST_NAME))


class HistoryList(RowList):
    """Shows one line per run: its question, its answer and its formation row."""

    def __init__(self, state: ViewState, *, ascii_only: bool) -> None:
        super().__init__(ascii_only=ascii_only)
        self._state = state
        self.marked: RunView | None = None
        """The run with which the next marked run is compared."""

    @property
    def count(self) -> int:
        """Return the number of runs."""
        return len(self._state.runs)

    @property
    def head_height(self) -> int:
        """Return 1 for the line of column names."""
        return 1

    @property
    def chosen(self) -> RunView | None:
        """The run under the cursor."""
        runs = self._state.runs
        return runs[self.cursor] if self.cursor < len(runs) else None

    def draw_head(self, line: int, width: int, styles: Styles) -> Segments:
        """Draw the column names."""
        if not self.count:
            return [(_NOTHING, styles.faint)]
        plan = plan_history(width - 1)
        text = " " + "".rjust(plan.number) + "question".ljust(plan.name + 1)
        text += "picture".ljust(plan.picture + 1) if plan.picture else ""
        text += "answer".ljust(plan.answer + 1 + FIGURE_WIDTH + 1)
        text += "from".rjust(plan.row) + " " + "norm".ljust(plan.norm)[: plan.norm]
        text += "status".ljust(plan.status) + "time".rjust(plan.time)[: plan.time]
        return [(text, styles.faint)]

    def draw_row(self, row: int, width: int, styles: Styles) -> Segments:
        """Draw a run."""
        view = self._state.runs[row]
        plan = plan_history(width)
        picture = view.run.question.picture
        mark = ("*" if self._ascii else "●") if view is self.marked else " "
        unsaved = "+" if view.worth_keeping and not view.saved else " "
        here = view is self._state.current
        text = styles.struck if view.refused else styles.text
        segments: Segments = [
            (mark, styles.cursor),
            (f"{row + 1:>{plan.number - 3}}", styles.cursor if here else styles.faint),
            (unsaved + " ", styles.faint),
            (display_text(view.name, plan.name, spaces=False, ascii_only=self._ascii) + " ", text),
        ]
        if plan.picture:
            name = PurePath(picture.path).name if picture else "-"
            shown = display_text(name, plan.picture, spaces=False, ascii_only=self._ascii)
            segments.append((shown + " ", styles.faint))
        segments += self._answer(view, plan, styles)
        formation = view.formation
        word = "-" if formation is None or view.refused else str(formation)
        status, style = _status(view, styles)
        norm = "" if view.run.question.norm else "off"
        seconds = _seconds(total_seconds(view.run))
        return [
            *segments,
            (word.rjust(plan.row) + " ", styles.text),
            (norm.ljust(plan.norm)[: plan.norm], styles.faint),
            (status[: plan.status - 1].ljust(plan.status), style),
            (seconds.rjust(plan.time)[: plan.time] + " ", styles.faint),
        ]

    def _answer(self, view: RunView, plan: HistoryColumns, styles: Styles) -> Segments:
        answer = view.answer
        if answer is None:
            return [("-".ljust(plan.answer + FIGURE_WIDTH + 2), styles.faint)]
        style = styles.struck if view.refused else styles.answer
        shown = display_text(answer.text, plan.answer, ascii_only=self._ascii)
        return [(f"{shown} {figure(answer.probability)} ", style)]


class History(ModalScreen[RunView | None]):
    """Lists the runs; returns the one to show, or None if none was chosen."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "dismiss", show=False),
        Binding("enter", "show", show=False),
        Binding("r", "rename", show=False),
        Binding("x,delete", "delete", show=False),
        Binding("u", "undo", show=False),
        Binding("b,space", "mark", show=False),
    ]
    CSS = """
    History .dialog { width: 98%; max-width: 150; height: 84%; max-height: 60; padding: 0; }
    History.-ascii .dialog { border: ascii $primary; }
    """

    def __init__(self, state: ViewState, *, ascii_only: bool) -> None:
        super().__init__()
        self._state = state
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
        runs, rows = self._state.runs, self._rows
        if rows.marked is not None and rows.marked not in runs:
            rows.marked = None
        target = self._on if self._touched else self._state.current
        rows.refresh_rows()
        if target is not None and target in runs:
            rows.put_cursor(runs.index(target))
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

    def action_delete(self) -> None:
        """Delete the run under the cursor."""
        row, chosen = self._rows.cursor, self._rows.chosen
        if chosen is None:
            return
        if not self._state.delete(chosen):
            self._say("this run is still running: ctrl+c cancels it")
            return
        self._touched = True
        runs = self._state.runs
        self._on = runs[min(row, len(runs) - 1)] if runs else None
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
        """Mark the run under the cursor, or compare it with the marked one."""
        rows = self._rows
        chosen, marked = rows.chosen, rows.marked
        if chosen is None:
            return
        if marked is None:
            rows.marked = chosen
            self._say("b on another run compares the two")
        else:
            rows.marked = None
            self._say(_KEYS)
            if chosen is not marked:
                self.app.push_screen(Compare(marked, chosen, ascii_only=self._ascii))
        rows.refresh_rows()

    @property
    def _rows(self) -> HistoryList:
        return self.query_one(HistoryList)

    def _say(self, text: str) -> None:
        put_subtitle(self.query_one(Vertical), text)

    def _say_title(self) -> None:
        runs = self._state.runs
        unsaved = sum(run.worth_keeping and not run.saved for run in runs)
        parts = [f"{len(runs)} run{'s' * (len(runs) != 1)}", place_text(self._rows)]
        parts += [f"{unsaved} not saved (+)" * bool(unsaved)]
        parts += [f"{len(self._state.queued)} to come" * bool(self._state.queued)]
        put_title(self.query_one(Vertical), ", ".join(part for part in parts if part))


def _status(view: RunView, styles: Styles) -> tuple[str, Style]:
    if view.refused:
        return "proof failed", styles.error
    if view.phase is Phase.RUNNING:
        return f"at {len(view.rows)} of {view.run.layers + 1}", styles.cursor
    if view.phase is Phase.DONE:
        return "", styles.faint
    return view.phase.value, styles.faint if view.phase is Phase.CANCELLED else styles.error


def _seconds(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return f"{seconds:.2f} s" if seconds < 100 else f"{seconds:.0f} s"
