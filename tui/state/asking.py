"""What may be asked of the worker when, and what to say where it may not. Knows no Textual."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from msgspec.structs import replace

from engine.events import LoadOptions, ModelReady
from engine.records import Picture, Question
from tui.startup import Startup, Tell, WorkerLike
from tui.state.view_state import ModelPhase, ModelView, ViewState

_MOST_TOKENS = 100
_NO_MODEL = "no model is loaded: start with  lenscope --model M"


class Asker:
    """Puts questions to the worker, one at a time; every refusal is a line in the state."""

    def __init__(self, state: ViewState, startup: Startup, tell: Tell) -> None:
        self._state = state
        self._options = startup.options
        self._make = startup.worker or _real_worker
        self._tell = tell
        self._worker: WorkerLike | None = None
        self._waiting: Callable[[], Question] | None = None
        self._asked: set[str] = set()
        self.bundled = _bundled_picture(startup)
        """Stands in for a picture until it is known whether the model takes any."""
        if self._options is not None:
            state.model = _being_loaded(self._options)

    def start(self, question: Callable[[], Question]) -> None:
        """Load the model, then ask once by itself."""
        if self._options is None:
            return
        self._waiting = question
        self._worker = self._make(self._tell)
        self._worker.start()
        self._worker.load(self._options)

    def stop(self) -> None:
        """Leave; never waits."""
        if self._worker is not None:
            self._worker.stop()

    def model_ready(self, event: ModelReady) -> None:
        """Ask what has been waiting for the model."""
        if self.bundled is not None and event.takes_pictures:
            self.set_picture(Picture(str(self.bundled)))
        self.bundled = None
        if self._waiting is not None:
            self.run(self._waiting)

    def set_picture(self, picture: Picture) -> None:
        """Ask about this picture from now on."""
        self.bundled = None
        self._state.question = replace(self._state.question, picture=picture)

    def run(self, question: Callable[[], Question]) -> None:
        """Ask; a running pass makes way. While the model loads, the question waits for it; a model
        that did not load is tried again."""
        state = self._state
        if self._worker is None or self._options is None:
            state.say(_NO_MODEL, "error")
        elif state.model.phase is ModelPhase.LOADING:
            self._waiting = question
            state.say("the question runs as soon as the model is ready")
        elif state.model.phase is not ModelPhase.READY:
            self._waiting = question
            state.model, state.note = _being_loaded(self._options), None
            self._worker.load(self._options)
        else:
            if state.busy:
                self._worker.cancel()
            self._waiting = None
            run_id = self._worker.ask(question())
            self._asked.add(run_id)
            state.ask(run_id)

    def cancel(self) -> bool:
        """Cancel what the worker is on; return whether there was anything."""
        if self._worker is None or not self._state.waiting:
            return False
        self._worker.cancel()
        return True

    def more(self, step: int, question: Callable[[], Question]) -> None:
        """Show more or fewer tokens per layer; ask again only for more than the rows hold."""
        state = self._state
        wanted = min(max(state.top_k + step, 1), _MOST_TOKENS)
        rows = state.current.rows if state.current is not None else []
        held = min((len(row.top) for row in rows), default=wanted)
        if wanted > held and self._worker is None:
            state.say(f"the session holds {held} tokens per layer; for more start with --model M")
            return
        state.top_k = wanted
        if wanted > held:
            self.run(question)

    def continue_answer(self) -> None:
        """Continue the answer of the shown run greedily."""
        state, run = self._state, self._state.current
        if run is None or run.answer is None or run.refused:
            state.say("there is no answer to continue")
        elif self._worker is None or run.run.id not in self._asked:
            state.say("only an answer of the loaded model can be continued: ctrl+r asks it")
        elif state.busy:
            state.say("the model is busy; ctrl+c cancels")
        else:
            run.continuation, run.continuing = "", True
            state.note = None
            self._worker.continue_answer(run.run.id)


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
