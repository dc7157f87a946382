"""When the worker may be asked for something, and what to tell the user when it may not.
Independent of Textual."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from msgspec.structs import replace

from engine.errors import Remedy
from engine.events import (
    LoadOptions,
    ModelReady,
    ReadingDropped,
    ReadingMade,
    RunEnded,
    Trouble,
)
from engine.methods.deepen import DeepenRequest
from engine.methods.track import TrackRequest
from engine.records import Counterfactual, Picture, Question, Request
from tui.actions.keymap import Keymap
from tui.startup import Startup
from tui.state.dispatch import Dispatch
from tui.state.run_view import Phase, RunView
from tui.state.view_state import ModelPhase, ModelView, ViewState
from tui.worker.protocol import Tell, WorkerLike

_MOST_TOKENS = 100
_NO_MODEL = "no model is loaded: L loads the one of this run, M chooses another"


class Asker:
    """Puts questions to the worker, one at a time; every refusal becomes a message in the state."""

    def __init__(self, state: ViewState, startup: Startup, tell: Tell) -> None:
        self._state = state
        self.options = startup.options
        """How the current model was, or will be, loaded."""
        self._make = startup.worker or _real_worker
        self._keymap = Keymap(startup.keys)
        self._tell = tell
        self._worker: WorkerLike | None = None
        self._waiting: Callable[[], Question] | None = None
        self._asked: list[str] = []
        self._gone: set[str] = set()
        self._gone_everywhere: set[str] = set()
        self._everywhere: set[str] = set()
        """Ids of the requests for positions other than a run's own."""
        self._unwanted: set[str] = set()
        """Ids of the requests that were cancelled and have not ended yet."""
        self.bundled = _bundled_picture(startup)
        """The picture used by default until it is known whether the model takes pictures."""
        if self.options is not None:
            state.model = _being_loaded(self.options)

    def connect(self, dispatch: Dispatch) -> None:
        """Register for the events that change what may be asked."""
        dispatch.on(ModelReady, self._model_ready)
        dispatch.on(RunEnded, lambda _: self.ask_next())
        dispatch.on(Trouble, self._trouble)
        dispatch.on(ReadingMade, self._reading_ended)
        dispatch.on(ReadingDropped, self._reading_ended)

    def start(self, question: Callable[[], Question]) -> None:
        """Load the model, then ask the question once."""
        if self.options is not None:
            self.load(self.options, question)

    def load(self, options: LoadOptions, question: Callable[[], Question] | None) -> None:
        """Load a model in place of the current one, whose memory is freed, while the session
        stays. The question, if any, is asked when the model is ready."""
        state = self._state
        if self._worker is None:
            self._worker = self._make(self._tell)
            self._worker.start()
        elif state.waiting:
            self._worker.cancel()
        self._forget_queue()
        self.drop_draft()
        self._asked.clear()
        self._waiting = question
        self.options = options
        state.model, state.note, state.asked = _being_loaded(options), None, None
        self._worker.load(options)

    def stop(self) -> None:
        """Stop the worker without waiting for it."""
        if self._worker is not None:
            self._worker.stop()

    def _model_ready(self, event: ModelReady) -> None:
        """Ask the question that has been waiting for the model."""
        if self.bundled is not None and event.takes_pictures:
            self.set_picture(Picture(str(self.bundled)))
        self.bundled = None
        if self._waiting is not None:
            self.run(self._waiting)

    def set_picture(self, picture: Picture) -> None:
        """Use this picture in the next questions."""
        self.bundled = None
        self._state.question = replace(self._state.question, picture=picture)

    def run(self, question: Callable[[], Question]) -> None:
        """Ask, cancelling a running pass. While the model loads, the question waits for it; a
        model that failed to load is tried again."""
        state = self._state
        if self._worker is None or self.options is None:
            state.say(_NO_MODEL, "error")
        elif state.model.phase is ModelPhase.LOADING:
            self._waiting = question
            state.say("the question runs as soon as the model is ready")
        elif state.model.phase is not ModelPhase.READY:
            self.load(self.options, question)
        else:
            if state.busy:
                self._worker.cancel()
            self._forget_queue()
            self.drop_draft()
            self._waiting = None
            self._ask(question())

    def run_all(self, questions: Sequence[Question]) -> bool:
        """Ask one question after the other; return whether the first could be asked."""
        state = self._state
        if not self._is_ready() or not questions:
            return False
        if state.busy and self._worker is not None:
            self._worker.cancel()
        self.drop_draft()
        state.queued = list(questions)
        state.queue_length = len(questions)
        self.ask_next()
        return True

    def ask_next(self) -> None:
        """Ask the next question in the queue if the model is free."""
        state = self._state
        if state.queued and not state.live and state.model.phase is ModelPhase.READY:
            self._ask(state.queued.pop(0))

    def ask_draft(self, question: Question) -> None:
        """Ask a half-typed question, whose run is shown and not kept, instead of the one before.
        The model must be ready."""
        assert self._worker is not None
        self.drop_draft()
        run_id = self._worker.ask(question, tuple(self._state.pinned))
        self._asked.append(run_id)
        self._state.ask_draft(run_id)

    def drop_draft(self) -> None:
        """Cancel the draft and whatever reads it; nothing else is cancelled."""
        dropped = self._state.drop_draft()
        if dropped is not None and self._worker is not None:
            self._worker.forget(dropped)
            self._asked = [run_id for run_id in self._asked if run_id != dropped]

    def cancel(self) -> bool:
        """Cancel what the worker is doing; return whether it was doing anything."""
        self._forget_queue()
        if self._worker is None or not self._state.waiting:
            return False
        self._worker.cancel()
        return True

    def more(self, step: int, question: Callable[[], Question]) -> None:
        """Show more or fewer tokens per layer; ask again only if the rows hold too few."""
        state = self._state
        wanted = min(max(state.top_k + step, 1), _MOST_TOKENS)
        rows = state.current.rows if state.current is not None else []
        held = min((len(row.top) for row in rows), default=wanted)
        if wanted > held and self._worker is None:
            state.say(f"the session holds {held} tokens per layer; for more, L loads the model")
            return
        state.top_k = wanted
        if wanted > held:
            self.run(question)

    def keeps_stream_of(self, run: RunView) -> bool:
        """Return whether the worker can read more from this run without a new pass."""
        ready = self._state.model.ready
        return ready is not None and self._keeps(run, ready.keeps) and run.run.id not in self._gone

    def keeps_everywhere(self, run: RunView) -> bool:
        """Return whether the worker can read every position of this run without a new pass."""
        ready = self._state.model.ready
        gone = self._gone | self._gone_everywhere
        return (
            ready is not None
            and self._keeps(run, ready.keeps_everywhere)
            and run.run.id not in gone
        )

    def _keeps(self, run: RunView, newest: int) -> bool:
        return (
            newest > 0
            and self._worker is not None
            and self._state.model.phase is ModelPhase.READY
            and run.phase is Phase.DONE
            and run.run.id in self._asked[-newest:]
        )

    def can_read(self, run: RunView, request: Request) -> bool:
        """Return whether the worker keeps what this request needs of a run."""
        if asks_for_positions(run, request):
            return self.keeps_everywhere(run)
        return self.keeps_stream_of(run)

    @property
    def is_busy(self) -> bool:
        """Whether a question is being asked."""
        return self._state.busy

    def _trouble(self, event: Trouble) -> None:
        """Note that a run's streams are no longer kept, so that nothing more is read from them: all
        of them, or those of its other positions. After any other refusal, other methods may still
        read the run."""
        if event.request_id in self._unwanted:
            self._unwanted.remove(event.request_id)
            self.is_told(event)
        if event.run_id is None:
            return
        if event.request_id is None:
            self._gone.add(event.run_id)
        elif Remedy.RUN_AGAIN in event.remedies:
            everywhere = event.request_id in self._everywhere
            (self._gone_everywhere if everywhere else self._gone).add(event.run_id)

    def _reading_ended(self, event: ReadingMade | ReadingDropped) -> None:
        self._unwanted.discard(event.request_id)

    def ask_spellings(self, typed: str) -> None:
        """Ask which tokens can spell a typed word."""
        if self._worker is not None and self._state.model.phase is ModelPhase.READY:
            self._worker.spellings(typed)

    def track(self, run: RunView, tokens: Sequence[tuple[int, str]]) -> None:
        """Track tokens in this run and in later ones."""
        state = self._state
        state.pinned.update(tokens)
        if not tokens:
            return
        ids = tuple(identity for identity, _ in tokens)
        request = TrackRequest(ids=ids, position=_other_position(run))
        if self.read(run, request) is None and run.phase is not Phase.RUNNING:
            state.say("this run's stream is not kept: r runs it again, with these tokens tracked")

    def deepen(self, run: RunView, layer: int, count: int) -> bool:
        """Read more of a row's top tokens if that is possible at once; return whether it is."""
        request = DeepenRequest(layer=layer, count=count, position=_other_position(run))
        return not self._state.busy and self.read(run, request) is not None

    def ask_against(self, run: RunView, counterfactuals: Sequence[Counterfactual]) -> bool:
        """Ask a run's question with something else instead of the picture; return whether it was
        asked."""
        state = self._state
        if not self._is_ready() or self._worker is None:
            return False
        if not run.has_picture:
            state.say("this run has no picture to replace")
        elif state.busy:
            state.say("the model is busy; ctrl+c cancels")
        elif not self.keeps_stream_of(run):
            state.say("this run's stream is not kept: r runs it again")
        else:
            if run is state.drafts.view:  # the comparison would refer to a run that is gone
                state.keep_draft()
            run_ids = self._worker.ask_against(run.run.id, counterfactuals)
            self._asked.extend(run_ids)
            state.ask(run_ids[-1])
            return True
        return False

    def read(self, run: RunView, request: Request) -> str | None:
        """Let a method read more of a run; return the id of the request, or None where the streams
        that it needs are not kept."""
        if self._worker is None or not self.can_read(run, request):
            return None
        made = self._worker.read(run.run.id, request)
        if asks_for_positions(run, request):
            self._everywhere.add(made)
        return made

    def cancel_reading(self, request_id: str) -> None:
        """Cancel a request whose result is no longer wanted; that it has ended so is no trouble."""
        if self._worker is not None:
            self._unwanted.add(request_id)
            self._worker.cancel_reading(request_id)

    def is_told(self, event: Trouble) -> None:
        """Take an error off the message line, since the view that asked shows it itself."""
        note = self._state.note
        if note is not None and note.text == event.error:
            self._state.note = None

    @property
    def run_ids(self) -> frozenset[str]:
        """The ids of the runs in the session."""
        return frozenset(view.run.id for view in self._state.shown)

    def why_not(self, run: RunView, request: Request | None = None) -> str:
        """Return why `read` cannot read a run, or cannot answer this request about it; empty where
        it can."""
        if self.keeps_stream_of(run) if request is None else self.can_read(run, request):
            return ""
        if run.phase is Phase.RUNNING:
            return "the run has not ended"
        if self._state.model.phase is not ModelPhase.READY:
            return f"this needs the model: {self._key('load')} loads it"
        again = f"{self._key('run')} runs it again"
        if request is not None and asks_for_positions(run, request) and self.keeps_stream_of(run):
            return f"the streams of this run are no longer kept: {again}"
        return f"this run's stream is not kept: {again}"

    def _key(self, action: str) -> str:
        """Return the user's own key for an action."""
        return self._keymap.first(action) or "the palette"

    def _is_ready(self) -> bool:
        state = self._state
        if self._worker is None:
            state.say(_NO_MODEL, "error")
        elif state.model.phase is not ModelPhase.READY:
            state.say("the model is not ready yet")
        return self._worker is not None and state.model.phase is ModelPhase.READY

    def _ask(self, question: Question) -> None:
        assert self._worker is not None
        run_id = self._worker.ask(question, tuple(self._state.pinned))
        self._asked.append(run_id)
        self._state.ask(run_id)

    def _forget_queue(self) -> None:
        self._state.queued = []
        self._state.queue_length = 0


def asks_for_positions(run: RunView, request: Request) -> bool:
    """Return whether a request needs the streams of other positions than the run's own: if it has
    a field for positions, or one for a position that is another, and no pass of its own."""
    if request.own_pass:
        return False
    position = getattr(request, "position", None)
    return hasattr(request, "positions") or (
        isinstance(position, int) and run.place(position) != run.own.run.position
    )


def _other_position(run: RunView) -> int | None:
    """Return the position that a view of a run shows, or None if it is the run's own."""
    return None if run.own is run else run.run.position


def _being_loaded(options: LoadOptions) -> ModelView:
    return ModelView(ModelPhase.LOADING, options.model, "loading the model")


def _real_worker(tell: Tell) -> WorkerLike:
    from engine.worker import Worker

    return Worker(tell)


def _bundled_picture(startup: Startup) -> Path | None:
    if startup.no_picture or startup.session is not None or startup.question.picture is not None:
        return None
    if startup.options is None:
        return None
    import samples

    return samples.DEFAULT_PICTURE if samples.DEFAULT_PICTURE.is_file() else None
