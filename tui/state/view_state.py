"""The explorer's view model, to which events are applied. Independent of Textual."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from time import monotonic

from msgspec.structs import replace

from engine.errors import Remedy
from engine.events import (
    ComparisonGrew,
    Event,
    ModelFailed,
    ModelLoading,
    ModelReady,
    ReadingGrew,
    ReadingMade,
    RowsRead,
    RunEnded,
    RunStarted,
    Trouble,
)
from engine.methods.answer import AnswerRequest
from engine.records import LayerReading, Question, Run, Session
from tui.state.drafts import rows_before
from tui.state.run_view import Phase, RunView
from tui.state.session_state import SessionState
from tui.text.loading_times import loaded_line


class ModelPhase(Enum):
    """The stages of the model."""

    NONE = "none"
    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"


@dataclass(frozen=True)
class Note:
    """A one-line message to the user."""

    text: str
    kind: str = "info"
    """info, good or error."""
    hint: str = ""
    """What to press next; it is shown however long the text is."""
    remedies: tuple[Remedy, ...] = ()
    """Ways to resolve the error; they are shown with the user's own keys."""


_MOST_TYPED = 20
CANCELLING = Note("cancelling")
NOT_ENDED = Note("the run is on its way: more can be read of it once it has ended")
"""It goes when a run ends."""
ONLY_IN_MEMORY = "unsaved runs are only in memory"


@dataclass
class ModelView:
    """The model as the explorer knows it."""

    phase: ModelPhase = ModelPhase.NONE
    name: str = ""
    stage: str = ""
    fraction: float | None = None
    began: float = field(default_factory=monotonic)
    ready: ModelReady | None = None


class ViewState(SessionState):
    """Everything that is shown, independent of how it is drawn."""

    def __init__(
        self, question: Question, session: Session | None = None, path: Path | None = None
    ) -> None:
        super().__init__(question)
        self.model = ModelView()
        self.asked: str | None = None
        """Id of the run that was asked for and has not started."""
        self.asked_at = 0.0
        """When it was asked, in seconds of the monotonic clock."""
        self.queued: list[Question] = []
        """Questions that wait for the model to be free."""
        self.queue_length = 0
        """How many questions the queue had at first."""
        self.note: Note | None = None
        self.offer = ""
        """A message about something possible only now; it is shown while there is no other."""
        self.journal_failure: str | None = None
        """Why unsaved runs are not on the disk, or None if they are."""
        self.pinned: dict[int, str] = {}
        """Tokens that the user tracks, id -> text; later runs of the same model track them too."""
        self._pinned_for = ""
        self.decoding = AnswerRequest()
        """How the next answer is decoded."""
        self.typed: tuple[str, ...] = ()
        """Prompts that were typed and not asked, the newest first."""
        if session is not None:
            self.reopen(session, path)

    @property
    def busy(self) -> bool:
        """Whether the worker is doing something that can be cancelled."""
        return bool(self.asked or self.live)

    @property
    def waiting(self) -> bool:
        """Whether something is in progress whose elapsed time is worth showing."""
        return self.busy or self.model.phase is ModelPhase.LOADING

    @property
    def notes(self) -> tuple[str, ...]:
        """The notes on the model of the shown run, or else on the one that is loaded; and why
        nothing was taken from earlier passes over the picture."""
        run = self.current.run if self.current is not None else None
        card = run.question.model if run is not None else None
        if run is None and self.model.ready is not None:
            card = self.model.ready.model
        notes = card.notes if card is not None else ()
        return notes if run is None or run.made.reason is None else (*notes, run.made.reason)

    def keep_typed(self, prompt: str) -> None:
        """Keep a prompt that was typed and not asked, since another takes its place."""
        others = tuple(known for known in self.typed if known != prompt)
        self.typed = (prompt, *others)[:_MOST_TYPED]

    def decode_with(self, request: AnswerRequest) -> None:
        """Decode further answers with these settings."""
        self.decoding = request

    def say(self, text: str, kind: str = "info") -> None:
        """Show the user a one-line message."""
        self.note = Note(text, kind)

    @property
    def at_risk(self) -> bool:
        """Whether runs would be lost if the program were killed now."""
        return self.journal_failure is not None and self.unsaved

    def note_journal(self, failure: str | None) -> None:
        """Note that unsaved runs cannot be written to the disk, or, with None, that they are."""
        if failure == self.journal_failure:
            return
        if self.note is not None and self.note.text.startswith(ONLY_IN_MEMORY):
            self.note = None
        self.journal_failure = failure
        if failure is not None:
            self.note = Note(f"{ONLY_IN_MEMORY} ({failure})", "error", "s saves them")

    def ask(self, run_id: str) -> None:
        """Note that a run has been asked for."""
        self.asked, self.asked_at = run_id, monotonic()
        self.note = None

    def ask_draft(self, run_id: str) -> None:
        """Note that the run of a half-typed text has been asked for."""
        self.ask(run_id)
        self.drafts.asked(run_id)

    def drop_draft(self) -> str | None:
        """Drop the draft, whose rows stay on the screen; return its id, or None if there is
        none that has not been dropped."""
        view, dropped = self.drafts.view, self.drafts.drop()
        if dropped is not None and self.asked == dropped:
            self.asked = None
        if (
            view is not None
            and dropped is not None
            and view.run.id == dropped
            and view.phase is Phase.RUNNING
        ):
            view.phase = Phase.CANCELLED
        return dropped

    def keep_draft(self) -> RunView:
        """Make the draft that is shown a run of the session."""
        view = self.drafts.release()
        self.runs.append(view)
        if view.phase is not Phase.RUNNING:
            self._check_kept(view)
        self.revise()
        return view

    def include(self, run: Run) -> None:
        """Add a finished run that is stored elsewhere to the session, and show it."""
        view = self.find(run.id)
        if view is None:
            view = RunView.of(run, saved=True)
            self.runs.append(view)
        self.current = view
        self.note = None
        self.revise()

    def apply(self, event: Event) -> None:
        """Apply an event of the worker."""
        if self.drafts.ignores(event):
            return
        match event:
            case ModelLoading():
                self.model.phase = ModelPhase.LOADING
                self.model.stage, self.model.fraction = event.stage, event.fraction
            case ModelReady():
                if event.model.name != self._pinned_for:
                    self.pinned, self._pinned_for = {}, event.model.name
                self.model = ModelView(ModelPhase.READY, event.model.name, ready=event)
                loaded = loaded_line(event)
                self.note = None if loaded is None else Note(loaded)
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
            case ReadingGrew():
                self._grow_reading(event)
            case ReadingMade():
                self._take_reading(event)
            case ComparisonGrew():
                self.comparisons[event.comparison.against] = event.comparison
                self.revise()
            case Trouble():
                self._trouble(event)

    def _start(self, run: Run) -> None:
        view = self.find(run.id)
        if view is None:
            view = RunView(run)
            if self.drafts.is_newest(run.id):
                self._start_draft(view)
            else:
                self.runs.append(view)
        else:  # restarted automatically: memory ran out over several at once
            view.start_again(run)
        self.current = view
        self.asked = None
        self.note = None
        self._revise(view)

    def _start_draft(self, view: RunView) -> None:
        if self.place is None:
            view.before = rows_before(self.current, view.run)
        if self.drafts.view is not None:
            self._places.pop(self.drafts.view.run.id, None)
        self.drafts.view = view

    def _revise(self, view: RunView) -> None:
        """Note a change of a run, unless it is the draft, which no journal holds."""
        if view is not self.drafts.view:
            self.revise()

    def _read(self, run_id: str, rows: tuple[LayerReading, ...]) -> None:
        view = self.find(run_id)
        if view is not None and view.phase is Phase.RUNNING:
            view.rows.extend(rows)
            self._revise(view)

    def _end(self, run: Run, remedies: tuple[Remedy, ...]) -> None:
        if self.asked == run.id:
            self.asked = None
        view = self.find(run.id)
        if view is None:
            return
        view.run = run
        if run.rows:
            view.rows = list(run.rows)
        view.phase = Phase(run.status)
        view.before = None
        if self.note == NOT_ENDED:
            self.note = None
        if view is not self.drafts.view:
            self._check_kept(view)
        self._revise(view)
        if view.not_kept:
            return
        if view.refused:
            self.note = Note(
                f"the proof failed, do not believe these rows: {view.refused}", "error"
            )
        elif view.phase is Phase.CANCELLED:
            self.note = Note(f"cancelled after {len(view.rows)} of {run.layers + 1} rows")
        elif run.error:
            self.note = Note(run.error, "error", remedies=remedies)
        elif run.question.picture is not None and run.question.picture.note:
            self.note = Note(f"the picture: {run.question.picture.note}")

    def _check_kept(self, view: RunView) -> None:
        """Find out whether a run that has ended can be a part of the session, and say if not."""
        view.not_kept = None if view.refused else self.why_not_kept(view.frozen())
        if view.not_kept:
            self.note = Note(
                f"this run is only shown, not kept in the session: {view.not_kept}", "error"
            )

    def _grow_reading(self, event: ReadingGrew) -> None:
        view = self.find(event.run_id)
        if view is not None:
            view.take_part(event.part)

    def _take_reading(self, event: ReadingMade) -> None:
        view = self.find(event.run_id)
        if view is None:
            return
        before = view.run
        if view is self.drafts.view:
            view.take(event.reading)
            return
        reason = view.take(event.reading, self.why_not_kept)
        if reason is not None:
            self.note = Note(f"only shown, not kept in the session: {reason}", "error")
        elif view.run is not before:
            self.revise()

    def _trouble(self, event: Trouble) -> None:
        self.note = Note(event.error, "error", remedies=event.remedies)
        if self.drafts.is_newest(event.run_id) and event.request_id is None:
            # A text on its way to another cannot always be asked; that is no error of the user's.
            self.note = Note(event.error, remedies=event.remedies)
            self.drafts.refused = True
        if event.run_id is None or event.run_id == self.asked:
            self.asked = None
        view = self.find(event.run_id)
        if view is not None and view.phase is Phase.RUNNING:
            view.phase, view.before = Phase.FAILED, None
            view.run = replace(view.run, status="failed", error=event.error, rows=tuple(view.rows))
            self._revise(view)
