"""The list of the runs in the session: what each line says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Any, ClassVar

from rich.cells import cell_len
from rich.style import Style

from tui.state.listing import Field, Order
from tui.state.run_view import Phase, RunView
from tui.state.view_state import ViewState
from tui.text.numbers import FIGURE_WIDTH, figure, total_seconds
from tui.text.show import display_text
from tui.widgets.listed_rows import ListedRows
from tui.widgets.styles import Segments, Styles

_LEAST_NAME = 14
_LEAST_NOTE = 8
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


def _picture_name(view: RunView) -> str:
    picture = view.run.question.picture
    return PurePath(picture.path).name if picture is not None else ""


def _model_name(view: RunView) -> str:
    model = view.run.question.model
    return model.name if model is not None else ""


class HistoryList(ListedRows):
    """Shows one line per run: its question, its answer and its formation row."""

    fields: ClassVar[Sequence[Field[Any]]] = (
        Field[RunView]("question", lambda view: view.name),
        Field[RunView]("picture", _picture_name),
        Field[RunView]("answer", lambda view: view.answer.text if view.answer else None),
        Field[RunView]("p", lambda view: view.answer.probability if view.answer else None),
        Field[RunView]("from", lambda view: view.formation),
        Field[RunView]("entropy", lambda view: view.rows[-1].entropy if view.complete else None),
        Field[RunView]("model", _model_name),
        Field[RunView]("tags", lambda view: " ".join(view.run.tags)),
        Field[RunView]("note", lambda view: view.run.note),
        Field[RunView]("status", lambda view: view.phase.value),
        Field[RunView]("time", lambda view: total_seconds(view.run)),
    )

    def __init__(self, state: ViewState, *, ascii_only: bool, order: Order | None = None) -> None:
        super().__init__(ascii_only=ascii_only, order=order)
        self._state = state
        self.marked: list[RunView] = []
        """The runs that are compared or plotted together."""

    @property
    def every(self) -> Sequence[RunView]:
        """The runs of the session, as they were asked."""
        return self._state.runs

    def draw_head(self, line: int, width: int, styles: Styles) -> Segments:
        """Draw the column names."""
        if not self.every:
            return [(_NOTHING, styles.faint)]
        if not self.count:
            return [(" No run matches: / changes the filter, esc in it drops it.", styles.faint)]
        plan = plan_history(width - 1)
        columns = [("", "", plan.number + 1), ("question", "question", plan.name + 1)]
        if plan.picture:
            columns.append(("picture", "picture", plan.picture + 1))
        columns += [
            ("answer", "answer", plan.answer + 1),
            ("p", "p", -FIGURE_WIDTH),
            ("", "", 1),
            ("from", "from", -plan.row),
            ("", "", 1),
            ("norm"[: plan.norm], "", plan.norm),
            ("status", "status", plan.status),
            ("time"[: plan.time], "time", -plan.time),
        ]
        return self.head(columns, styles)

    def draw_row(self, row: int, width: int, styles: Styles) -> Segments:
        """Draw a run."""
        view: RunView = self.items[row]
        number = self._state.runs.index(view) + 1 if view in self._state.runs else 0
        plan = plan_history(width)
        picture = view.run.question.picture
        mark = ("*" if self._ascii else "●") if view in self.marked else " "
        unsaved = "+" if view.worth_keeping and not view.saved else " "
        here = view is self._state.current
        text = styles.struck if view.refused else styles.text
        segments: Segments = [
            (mark, styles.cursor),
            (f"{number:>{plan.number - 3}}", styles.cursor if here else styles.faint),
            (unsaved + " ", styles.faint),
            *self._title(view, plan.name, text, styles),
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

    def _title(self, view: RunView, width: int, style: Style, styles: Styles) -> Segments:
        """Draw the run's name, and its tags and note as far as there is room behind it."""
        words = [f"#{tag}" for tag in view.run.tags] + [view.run.note or ""]
        said = " ".join(filter(None, words))
        name = display_text(view.name, spaces=False, ascii_only=self._ascii)
        room = width - cell_len(name) - 2
        if not said or (room < _LEAST_NOTE and width < 2 * _LEAST_NAME):
            return [
                (display_text(view.name, width, spaces=False, ascii_only=self._ascii) + " ", style)
            ]
        kept = min(max(width - cell_len(name), _LEAST_NOTE + 2), width // 2 + _LEAST_NOTE)
        return [
            (
                display_text(view.name, width - kept, spaces=False, ascii_only=self._ascii) + "  ",
                style,
            ),
            (
                display_text(said, kept - 2, spaces=False, ascii_only=self._ascii) + " ",
                styles.answer_bar,
            ),
        ]

    def _answer(self, view: RunView, plan: HistoryColumns, styles: Styles) -> Segments:
        answer = view.answer
        if answer is None:
            return [("-".ljust(plan.answer + FIGURE_WIDTH + 2), styles.faint)]
        style = styles.struck if view.refused else styles.answer
        shown = display_text(answer.text, plan.answer, ascii_only=self._ascii)
        return [(f"{shown} {figure(answer.probability)} ", style)]


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
