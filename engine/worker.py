"""One daemon thread that loads models and asks them, telling plain events to the outside."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from msgspec import structs

from engine.errors import BadInput, Cancelled, LenscopeError, Remedy, one_line
from engine.events import (
    AnswerGrew,
    Compared,
    Event,
    LoadOptions,
    ModelFailed,
    ModelLoading,
    ModelReady,
    ReadingDropped,
    ReadingGrew,
    ReadingMade,
    RowsRead,
    RunEnded,
    RunStarted,
    SpellingsFound,
    Trouble,
)
from engine.methods.method import NOT_KEPT, Subject, carry_out
from engine.methods.registry import method_for
from engine.records import (
    Comparison,
    Counterfactual,
    Part,
    Question,
    Reading,
    Request,
    Run,
)
from engine.system.lanes import Lanes
from engine.system.memory import give_memory_back
from engine.system.stamps import new_run_id, now

if TYPE_CHECKING:
    from engine.asking.asking import Asking
    from engine.methods.against import Against
    from engine.models.loading import LoadedModel

REMEMBERED = 16
"""Runs of which more can be asked: their inputs and their streams are kept."""

REPLAYS_REMEMBERED = 2
"""Of those, runs whose rows are read by running the model again: they need the pass's inputs and
what the modules ahead of the layers answered, on the model's device."""

NO_MODEL = "no model is loaded: choose one"


Found = TypeVar("Found")


@dataclass
class _Reading:
    """A request that is being answered."""

    run_id: str
    id: str
    request: Request
    generation: int
    cancelled: bool = False
    found: Iterator[Part | Reading] | None = None
    """What the method finds; None before it has begun."""

    @property
    def background(self) -> bool:
        """Whether it gives way to everything else."""
        return method_for(self.request).background


class Worker:
    """Takes orders from any thread and carries them out one by one, in order.

    `tell` is called from the worker's thread with every event. Nothing here waits for the caller,
    and the thread is a daemon: the program can end while a pass runs.
    """

    def __init__(self, tell: Callable[[Event], None]) -> None:
        self._tell = tell
        self._lanes = Lanes()
        self._thread = threading.Thread(target=self._work, name="worker", daemon=True)
        self._loaded: LoadedModel | None = None
        self._asking: Sequence[Asking | Against] = ()
        self._runs: OrderedDict[str, Subject] = OrderedDict()
        """What more can be read from; the oldest first."""
        self._readings: dict[str, _Reading] = {}
        """Those that have been asked for and have not ended."""
        self._cancelled = threading.Event()
        self._generation = 0
        """Raised by every cancel; questions ordered under a lower one are not begun."""

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def load(self, options: LoadOptions) -> None:
        """Load this model in the place of the present one."""
        generation = self._generation
        self._drop_background()
        self._lanes.put(lambda: self._load(options, generation))

    def ask(self, question: Question, track: Sequence[int] = ()) -> str:
        """Ask the loaded model; the id that the run will have.

        The tokens `track` are followed through its rows, beside the answer and every top-1.
        """
        run_id, generation, ids = new_run_id(), self._generation, tuple(track)
        self._drop_background()
        self._lanes.put(lambda: self._ask(question, run_id, ids, generation))
        return run_id

    def continue_answer(self, run_id: str, max_tokens: int = 20) -> None:
        """Continue the answer of a run of this worker's, greedily."""
        generation = self._generation
        self._lanes.put(lambda: self._continue(run_id, max_tokens, generation))

    def spellings(self, typed: str) -> None:
        """Tell which tokens a typed word can be."""
        self._lanes.put(lambda: self._spell(typed))

    def read(self, run_id: str, request: Request) -> str:
        """Let the method that answers this request read more of a run; the id of the request."""
        request_id, generation = new_run_id(), self._generation
        reading = _Reading(run_id, request_id, request, generation)
        self._readings[request_id] = reading
        if method_for(request).background:
            self._lanes.put_background(lambda: self._read_on(reading))
        else:
            self._lanes.put(lambda: self._read_whole(reading))
        return request_id

    def cancel_reading(self, request_id: str) -> None:
        """End one reading, and nothing else."""
        reading = self._readings.get(request_id)
        if reading is not None:
            reading.cancelled = True

    def ask_against(self, of: str, counterfactuals: Sequence[Counterfactual]) -> tuple[str, ...]:
        """Ask the question of a run again, with something else instead of its picture: the ids
        that the runs will have.

        This is a verb of its own and no method: it makes runs, which stream like any other, are
        listed, and can be read in turn; a reading is found about a run that is there.
        """
        generation = self._generation
        asked = tuple((new_run_id(), counterfactual) for counterfactual in counterfactuals)
        self._drop_background()
        self._lanes.put(lambda: self._ask_against(of, asked, generation))
        return tuple(run_id for run_id, _ in asked)

    def cancel(self) -> None:
        """End what runs now, within one layer or one token, and what was asked before now."""
        self._generation += 1
        self._cancelled.set()
        for asking in self._asking:
            asking.cancel()

    def stop(self) -> None:
        """Cancel and let the thread end by itself; never waits."""
        self.cancel()
        self._lanes.end()

    def _work(self) -> None:
        while (order := self._lanes.take()) is not None:
            self._cancelled.clear()
            order()

    def _load(self, options: LoadOptions, generation: int) -> None:
        self._loaded = None
        self._runs.clear()
        give_memory_back()
        began = time.perf_counter()

        def tell(stage: str, fraction: float | None) -> None:
            if generation < self._generation:
                raise Cancelled("cancelled")
            self._tell(ModelLoading(stage, fraction))

        failure = None
        try:
            # Torch and transformers load here, in the background, not with the first frame.
            tell("importing torch and transformers", None)
            from engine.models.loading import load_with

            loaded = load_with(options, tell)
        except Cancelled:
            failure = ModelFailed(f"{options.model}: loading was cancelled")
        except LenscopeError as error:
            failure = ModelFailed(str(error), error.remedies)
        except Exception as error:
            failure = ModelFailed(f"{options.model}: {one_line(error)}")
        if failure is not None:
            # Only here, when the error and the half-loaded model in its frames are gone.
            give_memory_back()
            self._tell(failure)
            return
        self._loaded = loaded
        self._tell(
            ModelReady(
                model=loaded.card,
                layers=len(loaded.lens.layers),
                takes_pictures=loaded.takes_pictures,
                has_chat_template=loaded.has_chat_template,
                method=loaded.lens.method,
                seconds=time.perf_counter() - began,
                keeps=REMEMBERED,
            )
        )

    def _ask(
        self, question: Question, run_id: str, track: tuple[int, ...], generation: int
    ) -> None:
        if generation < self._generation:
            self._tell(RunEnded(_never_begun(question, run_id)))
            return
        if self._loaded is None:
            self._tell(Trouble(NO_MODEL, run_id, (Remedy.LOAD_MODEL,)))
            return
        from engine.asking.asking import Asking

        asking = Asking(self._loaded, question, run_id, track)
        run = self._carry_out(
            [asking],
            generation,
            lambda: asking.run(
                started=lambda run: self._tell(RunStarted(run)),
                read=lambda rows: self._tell(RowsRead(run_id, tuple(rows))),
            ),
            run_id,
        )
        if run is not None:
            self._end(run, asking)

    def _ask_against(
        self, of: str, asked: Sequence[tuple[str, Counterfactual]], generation: int
    ) -> None:
        subject, loaded = self._runs.get(of), self._loaded
        if generation < self._generation and subject is not None:
            for run_id, counterfactual in asked:
                question = structs.replace(subject.run.question, counterfactual=counterfactual)
                self._tell(RunEnded(_never_begun(question, run_id)))
            return
        if subject is None or loaded is None or subject.stream is None:
            for run_id, _ in asked:
                self._tell(Trouble(NOT_KEPT, run_id, (Remedy.RUN_AGAIN,)))
            return
        from engine.methods.against import Against, Listener, ask_against

        run, kept = subject.run, subject.stream
        againsts = [
            Against(loaded, run, kept, counterfactual, run_id) for run_id, counterfactual in asked
        ]
        ended: set[str] = set()

        def end(against: Against, run: Run, comparison: Comparison) -> None:
            ended.add(run.id)
            if comparison.unavailable is not None:
                self._tell(RunStarted(run))
            # The picture's run must outlive those that are compared with it.
            self._runs.move_to_end(of)
            self._tell(Compared(comparison))
            self._end(run, against.asking)

        def refuse(against: Against, error: LenscopeError) -> None:
            ended.add(against.run_id)
            self._tell(Trouble.of(error, against.run_id))

        listener = Listener(
            started=lambda run: self._tell(RunStarted(run)),
            read=lambda run, rows: self._tell(RowsRead(run.id, tuple(rows))),
            compared=lambda comparison: self._tell(Compared(comparison)),
            ended=end,
            refused=refuse,
        )
        self._carry_out(againsts, generation, lambda: ask_against(againsts, listener))
        for run_id, _ in asked:
            if run_id not in ended:
                self._tell(Trouble("this counterfactual could not be asked", run_id))

    def _carry_out(
        self,
        asking: Sequence[Asking | Against],
        generation: int,
        run: Callable[[], Found],
        run_id: str | None = None,
    ) -> Found | None:
        """Run what can be cancelled meanwhile; None where it could not be done, which is told."""
        self._asking = asking
        if generation < self._generation:  # cancelled a moment ago
            for each in asking:
                each.cancel()
        try:
            return run()
        except LenscopeError as error:
            self._tell(Trouble.of(error, run_id))
        except Exception as error:
            self._tell(Trouble(one_line(error), run_id))
        finally:
            self._asking = ()
        return None

    def _end(self, run: Run, asking: Asking) -> None:
        """Remember a run of which more can be asked, and tell that it has ended."""
        if asking.prepared is not None:
            subject = Subject(asking.loaded, run, asking.prepared.inputs, asking.kept)
            self._remember(run.id, subject)
        if run.status == "failed":
            give_memory_back()
        self._tell(RunEnded(run, asking.remedies))

    def _subject(self, run_id: str) -> Subject:
        """What is kept of a run, and of the others. Raises BadInput where it is gone."""
        subject = self._runs.get(run_id)
        if subject is None:
            raise BadInput(NOT_KEPT, Remedy.RUN_AGAIN)
        others = {other: known for other, known in self._runs.items() if other != run_id}
        return replace(subject, others=others)

    def _continue(self, run_id: str, max_tokens: int, generation: int) -> None:
        if generation < self._generation:
            self._tell(AnswerGrew(run_id, "", ended=True))
            return
        subject = self._runs.get(run_id)
        if self._loaded is None or subject is None:
            gone = "this run's inputs are gone: run it again first"
            self._tell(Trouble(gone, run_id, (Remedy.RUN_AGAIN,)))
            return
        from engine.asking.asking import continue_greedily, explain

        try:
            continue_greedily(
                self._loaded,
                dict(subject.inputs),
                lambda text: self._tell(AnswerGrew(run_id, text, ended=False)),
                self._cancelled.is_set,
                max_tokens,
            )
        except Cancelled:
            pass
        except Exception as error:
            give_memory_back()
            self._tell(Trouble.of(explain(error), run_id))
        self._tell(AnswerGrew(run_id, "", ended=True))

    def _spell(self, typed: str) -> None:
        if self._loaded is None:
            self._tell(Trouble(NO_MODEL, None, (Remedy.LOAD_MODEL,)))
            return
        loaded = self._loaded
        from engine.prompts.processors import tokenizer_of
        from engine.prompts.spellings import spellings, vocabulary_of
        from engine.prompts.token_texts import texts_for

        tokenizer = tokenizer_of(loaded.processor)
        try:
            found = spellings(
                tokenizer, typed, texts_for(loaded.model), vocabulary_of(loaded.model, tokenizer)
            )
        except Exception as error:
            self._tell(Trouble(one_line(error)))
            return
        self._tell(SpellingsFound(typed, found))

    def _read_whole(self, reading: _Reading) -> None:
        while self._read_on(reading):
            pass

    def _read_on(self, reading: _Reading) -> bool:
        """Take one thing that a method has found and tell it; whether there is more to come."""

        def stop() -> bool:
            return reading.cancelled or reading.generation < self._generation

        from engine.asking.asking import explain

        found: Part | Reading | None = None
        failure: Trouble | None = None
        try:
            if stop():
                raise Cancelled("cancelled")
            if reading.found is None:
                method = method_for(reading.request)
                subject = self._subject(reading.run_id)
                reading.found = carry_out(method, subject, reading.request, stop)
            found = next(reading.found)
        except Cancelled:
            gone = "reading more of this run was cancelled"
            failure = Trouble(gone, reading.run_id, (), reading.id)
        except LenscopeError as error:
            failure = Trouble.of(error, reading.run_id, reading.id)
        except Exception as error:
            failure = Trouble.of(explain(error), reading.run_id, reading.id)
        if isinstance(found, Part):
            self._tell(ReadingGrew(reading.run_id, reading.id, found))
            return True
        reading.found = None
        self._readings.pop(reading.id, None)
        if isinstance(found, Reading):
            self._tell(ReadingMade(reading.run_id, reading.id, found))
            return False
        # Only here, when the error and the tensors in its frames are gone.
        give_memory_back()
        if failure is None or (reading.background and stop()):
            self._tell(ReadingDropped(reading.run_id, reading.id))
        else:
            self._tell(failure)
        return False

    def _drop_background(self) -> None:
        """A new run, or another model, ends what was put into the background before it."""
        for reading in list(self._readings.values()):
            reading.cancelled = reading.cancelled or reading.background

    def _remember(self, run_id: str, subject: Subject) -> None:
        self._runs[run_id] = subject
        while len(self._runs) > REMEMBERED:
            self._runs.popitem(last=False)
        replays = [
            each
            for each, known in self._runs.items()
            if known.stream is not None and known.stream.replays
        ]
        for each in replays[:-REPLAYS_REMEMBERED]:
            self._runs[each] = replace(self._runs[each], stream=None)


def _never_begun(question: Question, run_id: str) -> Run:
    return Run(
        id=run_id,
        created=now(),
        status="cancelled",
        layers=0,
        question=question,
        tokens=(),
        position=0,
        rows=(),
    )
