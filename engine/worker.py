"""One daemon thread that loads models and asks them, telling plain events to the outside."""

from __future__ import annotations

import queue
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from msgspec import structs

from engine.errors import BadInput, Cancelled, LenscopeError, one_line
from engine.events import (
    AnswerGrew,
    AnswersDebiased,
    Compared,
    Contrasted,
    Event,
    LoadOptions,
    ModelFailed,
    ModelLoading,
    ModelReady,
    RowDeepened,
    RowsRead,
    RunEnded,
    RunStarted,
    SpellingsFound,
    TokensTracked,
    Trouble,
)
from engine.records import Comparison, Counterfactual, Question, Run
from engine.system.memory import give_memory_back
from engine.system.stamps import new_run_id, now

if TYPE_CHECKING:
    from engine.asking.asking import Asking
    from engine.lens.kept import KeptStream
    from engine.methods.against import Against
    from engine.models.loading import LoadedModel

REMEMBERED = 16
"""Runs of which more can be asked: their inputs and their streams are kept."""

REPLAYS_REMEMBERED = 2
"""Of those, runs whose rows are read by running the model again: they need the pass's inputs and
what the modules ahead of the layers answered, on the model's device."""

NO_MODEL = "no model is loaded: M chooses one"
NOT_KEPT = "this run's stream is no longer kept: run it again (r) to read more from it"


Found = TypeVar("Found")


@dataclass(frozen=True)
class _Remembered:
    """What is kept of a run."""

    run: Run
    inputs: dict[str, Any]
    kept: KeptStream | None


class Worker:
    """Takes orders from any thread and carries them out one by one, in order.

    `tell` is called from the worker's thread with every event. Nothing here waits for the caller,
    and the thread is a daemon: the program can end while a pass runs.
    """

    def __init__(self, tell: Callable[[Event], None]) -> None:
        self._tell = tell
        self._orders: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="worker", daemon=True)
        self._loaded: LoadedModel | None = None
        self._asking: Sequence[Asking | Against] = ()
        self._runs: OrderedDict[str, _Remembered] = OrderedDict()
        self._cancelled = threading.Event()
        self._generation = 0
        """Raised by every cancel; questions ordered under a lower one are not begun."""

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def load(self, options: LoadOptions) -> None:
        """Load this model in the place of the present one."""
        generation = self._generation
        self._orders.put(lambda: self._load(options, generation))

    def ask(self, question: Question, track: Sequence[int] = ()) -> str:
        """Ask the loaded model; the id that the run will have.

        The tokens `track` are followed through its rows, beside the answer and every top-1.
        """
        run_id, generation, ids = new_run_id(), self._generation, tuple(track)
        self._orders.put(lambda: self._ask(question, run_id, ids, generation))
        return run_id

    def continue_answer(self, run_id: str, max_tokens: int = 20) -> None:
        """Continue the answer of a run of this worker's, greedily."""
        generation = self._generation
        self._orders.put(lambda: self._continue(run_id, max_tokens, generation))

    def spellings(self, typed: str) -> None:
        """Tell which tokens a typed word can be."""
        self._orders.put(lambda: self._spell(typed))

    def track(self, run_id: str, ids: Sequence[int]) -> None:
        """Follow more tokens through the rows of a run, without a new pass."""
        wanted, generation = tuple(ids), self._generation

        def read() -> Event:
            return TokensTracked(run_id, self._kept(run_id).track(wanted, self._cancelled.is_set))

        self._orders.put(lambda: self._tell_more(run_id, generation, read))

    def deepen(self, run_id: str, layer: int, count: int) -> None:
        """Read `count` top tokens of one row of a run, without a new pass."""
        generation = self._generation

        def read() -> Event:
            reading = self._kept(run_id).deepen(layer, count, self._cancelled.is_set)
            return RowDeepened(run_id, reading)

        self._orders.put(lambda: self._tell_more(run_id, generation, read))

    def ask_against(self, of: str, counterfactuals: Sequence[Counterfactual]) -> tuple[str, ...]:
        """Ask the question of a run again, with something else in its picture's stead: the ids
        that the runs will have."""
        generation = self._generation
        asked = tuple((new_run_id(), counterfactual) for counterfactual in counterfactuals)
        self._orders.put(lambda: self._ask_against(of, asked, generation))
        return tuple(run_id for run_id, _ in asked)

    def contrast(self, of: str, references: Sequence[str], a: float, b: float) -> None:
        """Read the contrast rows of a run against others, without a new pass."""
        wanted, generation = tuple(references), self._generation

        def read() -> Event:
            from engine.methods.against import contrast_rows

            rows = contrast_rows(self._kept(of), [self._kept(each) for each in wanted], a, b)
            return Contrasted(of, wanted, a, b, rows)

        self._orders.put(lambda: self._tell_more(of, generation, read))

    def debias(self, of: str, references: Sequence[str], answers: str) -> None:
        """Tell a list of answers beside what they have without the picture."""
        wanted, generation = tuple(references), self._generation

        def read() -> Event:
            from engine.methods.debias import answer_ids, debiased_answers, parse_answers
            from engine.prompts.processors import tokenizer_of
            from engine.prompts.spellings import spelled, vocabulary_of

            loaded, kept = self._loaded, self._kept(of)
            assert loaded is not None  # what is kept goes with the model
            tokenizer = tokenizer_of(loaded.processor)
            spell = spelled(tokenizer, kept.text_of, vocabulary_of(loaded.model, tokenizer))
            ids = answer_ids(parse_answers(answers), lambda answer: spell(answer).ids)
            others = [self._kept(each).own[0] for each in wanted]
            return AnswersDebiased(of, wanted, debiased_answers(ids, kept.own[0], *others))

        self._orders.put(lambda: self._tell_more(of, generation, read))

    def see(self, run_id: str) -> None:
        """Tell what the model sees of the picture of a run."""
        generation = self._generation
        self._orders.put(lambda: self._see(run_id, generation))

    def cancel(self) -> None:
        """End what runs now, within one layer or one token, and what was asked before now."""
        self._generation += 1
        self._cancelled.set()
        for asking in self._asking:
            asking.cancel()

    def stop(self) -> None:
        """Cancel and let the thread end by itself; never waits."""
        self.cancel()
        self._orders.put(None)

    def _work(self) -> None:
        while (order := self._orders.get()) is not None:
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
            failure = f"{options.model}: loading was cancelled"
        except LenscopeError as error:
            failure = str(error)
        except Exception as error:
            failure = f"{options.model}: {one_line(error)}"
        if failure is not None:
            # Only here, when the error and the half-loaded model in its frames are gone.
            give_memory_back()
            self._tell(ModelFailed(failure))
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
            )
        )

    def _ask(
        self, question: Question, run_id: str, track: tuple[int, ...], generation: int
    ) -> None:
        if generation < self._generation:
            self._tell(RunEnded(_never_begun(question, run_id)))
            return
        if self._loaded is None:
            self._tell(Trouble(NO_MODEL, run_id))
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
        remembered, loaded = self._runs.get(of), self._loaded
        if generation < self._generation and remembered is not None:
            for run_id, counterfactual in asked:
                question = structs.replace(remembered.run.question, counterfactual=counterfactual)
                self._tell(RunEnded(_never_begun(question, run_id)))
            return
        if remembered is None or loaded is None or remembered.kept is None:
            for run_id, _ in asked:
                self._tell(Trouble(NOT_KEPT, run_id))
            return
        from engine.methods.against import Against, Listener, ask_against

        run, kept = remembered.run, remembered.kept
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
            self._tell(Trouble(str(error), against.run_id))

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
            self._tell(Trouble(str(error), run_id))
        except Exception as error:
            self._tell(Trouble(one_line(error), run_id))
        finally:
            self._asking = ()
        return None

    def _end(self, run: Run, asking: Asking) -> None:
        """Remember a run of which more can be asked, and tell that it has ended."""
        if asking.prepared is not None:
            self._remember(run.id, _Remembered(run, asking.prepared.inputs, asking.kept))
        if run.status == "failed":
            give_memory_back()
        self._tell(RunEnded(run))

    def _kept(self, run_id: str) -> KeptStream:
        remembered = self._runs.get(run_id)
        if remembered is None or remembered.kept is None:
            raise BadInput(NOT_KEPT)
        return remembered.kept

    def _continue(self, run_id: str, max_tokens: int, generation: int) -> None:
        if generation < self._generation:
            self._tell(AnswerGrew(run_id, "", ended=True))
            return
        remembered = self._runs.get(run_id)
        if self._loaded is None or remembered is None:
            self._tell(Trouble("ask again first: this run's inputs are gone", run_id))
            return
        from engine.asking.asking import continue_greedily, explain

        try:
            continue_greedily(
                self._loaded,
                remembered.inputs,
                lambda text: self._tell(AnswerGrew(run_id, text, ended=False)),
                self._cancelled.is_set,
                max_tokens,
            )
        except Cancelled:
            pass
        except Exception as error:
            give_memory_back()
            self._tell(Trouble(explain(error), run_id))
        self._tell(AnswerGrew(run_id, "", ended=True))

    def _spell(self, typed: str) -> None:
        if self._loaded is None:
            self._tell(Trouble(NO_MODEL))
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

    def _see(self, run_id: str, generation: int) -> None:
        remembered, loaded = self._runs.get(run_id), self._loaded
        if loaded is None or remembered is None:
            self._tell(Trouble(NOT_KEPT, run_id))
            return
        from engine.methods.seen import see

        question, inputs = remembered.run.question, remembered.inputs
        self._tell_more(run_id, generation, lambda: see(loaded, question, inputs, run_id))

    def _tell_more(self, run_id: str, generation: int, make: Callable[[], Event]) -> None:
        """Tell what `make` finds out about a run, or why it cannot be told."""
        from engine.asking.asking import explain

        failure = None
        try:
            if generation < self._generation:
                raise Cancelled("cancelled")
            event = make()
        except Cancelled:
            failure = "reading more of this run was cancelled"
        except LenscopeError as error:
            failure = str(error)
        except Exception as error:
            failure = explain(error)
        if failure is not None:
            # Only here, when the error and the tensors in its frames are gone.
            give_memory_back()
            event = Trouble(failure, run_id)
        self._tell(event)

    def _remember(self, run_id: str, run: _Remembered) -> None:
        self._runs[run_id] = run
        while len(self._runs) > REMEMBERED:
            self._runs.popitem(last=False)
        replays = [
            each for each, run in self._runs.items() if run.kept is not None and run.kept.replays
        ]
        for each in replays[:-REPLAYS_REMEMBERED]:
            self._runs[each] = replace(self._runs[each], kept=None)


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
