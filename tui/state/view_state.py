"""The explorer's view model: events go in, what to show comes out. Knows nothing of Textual."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from time import monotonic
from typing import Any

from msgspec.structs import replace

from engine.errors import Remedy
from engine.events import (
    AnswerGrew,
    Compared,
    Event,
    ModelFailed,
    ModelLoading,
    ModelReady,
    ReadingMade,
    RowsRead,
    RunEnded,
    RunStarted,
    Trouble,
)
from engine.records import Comparison, LayerReading, Question, Run, Session
from engine.system.stamps import now
from tui.state.run_view import Phase, RunView
from tui.state.table_look import TableLook


class ModelPhase(Enum):
    """How far the model has come."""

    NONE = "none"
    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"


@dataclass(frozen=True)
class Note:
    """One line for the user."""

    text: str
    kind: str = "info"
    """info, good or error."""
    hint: str = ""
    """What to press next; stays in sight however long the text is."""
    remedies: tuple[Remedy, ...] = ()
    """What can be done about the error; shown with the user's own keys."""


CANCELLING = Note("cancelling")


@dataclass
class ModelView:
    """The model as the explorer knows it."""

    phase: ModelPhase = ModelPhase.NONE
    name: str = ""
    stage: str = ""
    fraction: float | None = None
    began: float = field(default_factory=monotonic)
    ready: ModelReady | None = None


class ViewState:
    """Everything that is shown, and nothing of how."""

    def __init__(
        self, question: Question, session: Session | None = None, path: Path | None = None
    ) -> None:
        self.question = question
        self.model = ModelView()
        self.runs: list[RunView] = []
        self.current: RunView | None = None
        self.asked: str | None = None
        """The run that was asked for and has not begun."""
        self.asked_at = 0.0
        """When it was asked, on the monotonic clock."""
        self.queued: list[Question] = []
        """Questions that are asked one after the other as soon as the model is free."""
        self.queue_length = 0
        """How many there were."""
        self.look = TableLook(top_k=question.top_k)
        self.note: Note | None = None
        self.offer = ""
        """What can be done now and then no more; stays in sight while nothing else is said."""
        self.session_path: Path | None = None
        self.pinned: dict[int, str] = {}
        """Tokens that the user tracks, id -> text: later runs of the same model track them too."""
        self.revision = 0
        """Raised by whatever a journal of the session should hold."""
        self._pinned_for = ""
        self._deleted: list[tuple[int, RunView]] = []
        self._edited = False
        self._created = now()
        self.comparisons: dict[str, Comparison] = {}
        """By the run that is compared with another."""
        self._view: dict[str, Any] = {}
        if session is not None:
            self.reopen(session, path)

    @property
    def live(self) -> RunView | None:
        """The run whose pass is running."""
        return next((run for run in reversed(self.runs) if run.phase is Phase.RUNNING), None)

    @property
    def continuing(self) -> RunView | None:
        """The run whose answer is being continued."""
        return next((run for run in reversed(self.runs) if run.continuing), None)

    @property
    def busy(self) -> bool:
        """Whether the worker is on something that a cancel would stop."""
        return bool(self.asked or self.live or self.continuing)

    @property
    def unsaved(self) -> bool:
        """Whether there is something that no file holds."""
        if any(run.worth_keeping and not run.saved for run in self.runs):
            return True
        return self._edited and any(run.worth_keeping for run in self.runs)

    @property
    def unsaved_or_live(self) -> bool:
        """Whether a journal has something to hold."""
        return self.unsaved or self.live is not None

    def apply(self, event: Event) -> None:
        """Take in what the worker has told."""
        match event:
            case ModelLoading():
                self.model.phase = ModelPhase.LOADING
                self.model.stage, self.model.fraction = event.stage, event.fraction
            case ModelReady():
                if event.model.name != self._pinned_for:
                    self.pinned, self._pinned_for = {}, event.model.name
                self.model = ModelView(ModelPhase.READY, event.model.name, ready=event)
                self.note = None
            case ModelFailed():
                self.model.phase = ModelPhase.FAILED
                self.asked = None
                self.note = Note(
                    event.error, "error", "r loads again, M chooses another", event.remedies
                )
            case RunStarted():
                self._start(event.run)
            case RowsRead():
                self._read(event.run_id, event.rows)
            case RunEnded():
                self._end(event.run, event.remedies)
            case AnswerGrew():
                self._grow(event)
            case ReadingMade():
                self._take_reading(event)
            case Compared():
                self.comparisons[event.comparison.against] = event.comparison
                self.revision += 1
            case Trouble():
                self._trouble(event)

    def ask(self, run_id: str) -> None:
        """A run has been asked for."""
        self.asked, self.asked_at = run_id, monotonic()
        self.note = None

    @property
    def top_k(self) -> int:
        """Tokens per layer in the table."""
        return self.look.top_k

    @top_k.setter
    def top_k(self, top_k: int) -> None:
        self.look = dataclasses.replace(self.look, top_k=top_k)

    @property
    def waiting(self) -> bool:
        """Whether something is under way whose time is worth showing."""
        return self.busy or self.model.phase is ModelPhase.LOADING

    def say(self, text: str, kind: str = "info") -> None:
        """Put a line before the user."""
        self.note = Note(text, kind)

    def switch(self, step: int) -> None:
        """Show the next or the previous run."""
        if self.current is None:
            return
        index = self.runs.index(self.current) + step
        self.current = self.runs[min(max(index, 0), len(self.runs) - 1)]

    def show(self, view: RunView) -> None:
        """Show this run of the session."""
        if view in self.runs:
            self.current = view

    def rename(self, view: RunView, title: str) -> None:
        """Give a run a title; an empty one takes it away."""
        view.run = replace(view.run, title=" ".join(title.split()) or None)
        view.saved = False
        self.revision += 1

    def delete(self, view: RunView) -> bool:
        """Take a run out of the session, until `undo_delete`; return False for one that runs."""
        if view.phase is Phase.RUNNING or view not in self.runs:
            return False
        index = self.runs.index(view)
        self.runs.pop(index)
        self._deleted.append((index, view))
        self._edited = True
        if self.current is view:
            self.current = self.runs[min(index, len(self.runs) - 1)] if self.runs else None
        self.revision += 1
        return True

    def undo_delete(self) -> RunView | None:
        """Put the run that was deleted last back to its place, and show it."""
        if not self._deleted:
            return None
        index, view = self._deleted.pop()
        self.runs.insert(min(index, len(self.runs)), view)
        self.current = view
        self.revision += 1
        return view

    def picture_of(self, view: RunView) -> RunView:
        """The run with the picture that a counterfactual was asked for; else the run itself."""
        comparison = self.comparisons.get(view.run.id)
        return (self.find(comparison.of) if comparison is not None else None) or view

    def counterfactuals_of(self, view: RunView) -> list[RunView]:
        """The runs of this one's question with something else in the picture's stead."""
        ids = {known.against for known in self.comparisons.values() if known.of == view.run.id}
        return [other for other in self.runs if other.run.id in ids]

    def reopen(self, session: Session, path: Path | None) -> None:
        """Show a session that was saved; what it holds replaces what was here."""
        self.runs = [RunView.of(run, saved=True) for run in session.runs]
        self._deleted, self._edited = [], False
        self._created = session.created
        self.comparisons = {known.against: known for known in session.comparisons}
        self._view = dict(session.view)
        self.session_path = path
        chosen = self._view.get("run")
        by_id = {view.run.id: view for view in self.runs}
        last = self.runs[-1] if self.runs else None
        self.current = by_id.get(chosen, last) if isinstance(chosen, str) else last
        if self.current is not None:
            self.question = replace(self.current.run.question, model=None, text="")
            self.top_k = self.question.top_k

    def include(self, run: Run) -> None:
        """Show a run that has ended and is kept elsewhere, beside those of the session."""
        view = self.find(run.id)
        if view is None:
            view = RunView.of(run, saved=True)
            self.runs.append(view)
        self.current = view
        self.note = None
        self.revision += 1

    @property
    def reopened_row(self) -> int | None:
        """The row that a reopened session was left at."""
        row = self._view.get("row")
        return row if isinstance(row, int) and row >= 0 else None

    def session(self, *, row: int, with_live: bool) -> Session:
        """Return everything that a file should hold."""
        kept = [
            view
            for view in self.runs
            if view.worth_keeping and (with_live or view.phase is not Phase.RUNNING)
        ]
        view = dict(self._view, row=row)
        if self.current is not None:
            view["run"] = self.current.run.id
        return Session(
            created=self._created,
            saved=now(),
            runs=tuple(view.frozen() for view in kept),
            comparisons=tuple(
                comparison
                for comparison in self.comparisons.values()
                if {comparison.of, comparison.against} <= {view.run.id for view in kept}
            ),
            view=view,
        )

    def mark_saved(self, runs: Iterable[Run], path: Path | None = None) -> None:
        """Remember which runs a file holds, and which file is the session's."""
        ids = {run.id for run in runs}
        for view in self.runs:
            view.saved = view.saved or view.run.id in ids
        self._edited = False
        self.session_path = path or self.session_path

    def find(self, run_id: str | None) -> RunView | None:
        """Return the run of this id, or None."""
        return next((view for view in self.runs if view.run.id == run_id), None)

    def _start(self, run: Run) -> None:
        view = self.find(run.id)
        if view is None:
            view = RunView(run)
            self.runs.append(view)
        else:  # begun again, by itself: memory ran out over several at once
            view.run, view.phase = run, Phase.RUNNING
            view.rows.clear()
        self.current = view
        self.asked = None
        self.note = None
        self.revision += 1

    def _read(self, run_id: str, rows: tuple[LayerReading, ...]) -> None:
        view = self.find(run_id)
        if view is not None and view.phase is Phase.RUNNING:
            view.rows.extend(rows)
            self.revision += 1

    def _end(self, run: Run, remedies: tuple[Remedy, ...]) -> None:
        if self.asked == run.id:
            self.asked = None
        view = self.find(run.id)
        if view is None:
            return
        view.run = run
        self.revision += 1
        if run.rows:
            view.rows = list(run.rows)
        view.phase = Phase(run.status)
        if view.refused:
            self.note = Note(
                f"the proof failed, do not believe these rows: {view.refused}", "error"
            )
        elif view.phase is Phase.CANCELLED:
            self.note = Note(f"cancelled after {len(view.rows)} of {run.layers + 1} rows")
        elif run.error:
            self.note = Note(run.error, "error", remedies=remedies)

    def _grow(self, event: AnswerGrew) -> None:
        view = self.find(event.run_id)
        if view is not None:
            view.continuation += event.text
            view.continuing = not event.ended
            if event.ended and self.note == CANCELLING:
                self.note = Note("the continuation was cancelled")

    def _take_reading(self, event: ReadingMade) -> None:
        view = self.find(event.run_id)
        if view is not None and view.take(event.reading):
            self.revision += 1

    def _trouble(self, event: Trouble) -> None:
        self.note = Note(event.error, "error", remedies=event.remedies)
        if event.run_id is None or event.run_id == self.asked:
            self.asked = None
        view = self.find(event.run_id)
        if view is not None:
            view.continuing = False
            if view.phase is Phase.RUNNING:
                view.phase = Phase.FAILED
                view.run = replace(
                    view.run, status="failed", error=event.error, rows=tuple(view.rows)
                )
