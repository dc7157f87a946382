"""A daemon thread that loads models, asks them and reads their runs, and tells events about it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from msgspec import structs

from engine.errors import Cancelled, LenscopeError, Remedy, typed_line
from engine.events import (
    ComparisonGrew,
    Event,
    LoadOptions,
    ModelFailed,
    ModelLoading,
    ModelReady,
    RowsRead,
    RunEnded,
    RunStarted,
    SpellingsFound,
    Trouble,
)
from engine.methods.everywhere import Everywhere
from engine.methods.kept_runs import EVERYWHERE_REMEMBERED, REMEMBERED, KeptRuns
from engine.methods.method import NOT_KEPT, Subject
from engine.models.importing import import_and_load
from engine.records import (
    Comparison,
    Counterfactual,
    Question,
    Request,
    Run,
)
from engine.system.lanes import Lanes, Order
from engine.system.memory import give_memory_back
from engine.system.phases import TOTAL
from engine.system.stamps import new_run_id, now

if TYPE_CHECKING:
    from engine.asking.asking import Asking
    from engine.methods.against import Against
    from engine.methods.reading_job import ReadingJob
    from engine.models.loading import LoadedModel

NO_MODEL = "no model is loaded: choose one"


Found = TypeVar("Found")


class Worker:
    """Takes orders from any thread and carries them out one after the other, in order.

    `tell` is called with every event, in the worker's thread. No method waits for an order to be
    carried out, and the thread is a daemon, so the program can exit while a pass runs.
    """

    def __init__(self, tell: Callable[[Event], None]) -> None:
        self._tell = tell
        self._lanes = Lanes()
        self._thread = self._new_thread()
        self._loaded: LoadedModel | None = None
        self._asking: Sequence[Asking | Against] = ()
        self._runs = KeptRuns()
        self._readings: dict[str, ReadingJob] = {}
        """Request id -> a reading that was ordered and has not ended."""
        self._forgotten: set[str] = set()
        """Ids of runs that are forgotten as soon as what was ordered before has been done."""
        self._generation = 0
        """Increased by every cancel; orders of an earlier generation are not carried out."""

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def load(self, options: LoadOptions) -> None:
        """Load this model instead of the present one."""
        generation = self._generation
        self._drop_background()
        self._order(
            lambda: self._load(options, generation),
            lambda line: ModelFailed(f"{options.model}: {line}"),
        )

    def ask(self, question: Question, track: Sequence[int] = ()) -> str:
        """Ask the loaded model, and return the id that the run will have.

        The tokens `track` are followed through its rows, like the answer and every top-1.
        """
        run_id, generation, ids = new_run_id(), self._generation, tuple(track)
        self._drop_background()
        self._order(
            lambda: self._ask(question, run_id, ids, generation),
            lambda line: Trouble(line, run_id),
        )
        return run_id

    def spellings(self, typed: str) -> None:
        """Find the tokens that a typed word can be; tells `SpellingsFound`."""
        self._order(lambda: self._spell(typed), Trouble)

    def read(self, run_id: str, request: Request) -> str:
        """Let the method for this request read more from a kept run, and return the request's id.

        Tells `ReadingGrew`, then `ReadingMade`, `ReadingDropped` or `Trouble`.
        """
        from engine.methods.reading_job import ReadingJob

        generation = self._generation
        job = ReadingJob(run_id, new_run_id(), request, lambda: generation < self._generation)
        self._readings[job.id] = job
        if job.background:
            self._lanes.put_background(lambda: self._read_on(job))
            self._revive()
        else:
            self._order(
                lambda: self._read_whole(job), lambda line: Trouble(line, run_id, (), job.id)
            )
        return job.id

    def cancel_reading(self, request_id: str) -> None:
        """Cancel one reading and nothing else."""
        reading = self._readings.get(request_id)
        if reading is not None:
            reading.cancelled = True

    def ask_against(self, of: str, counterfactuals: Sequence[Counterfactual]) -> tuple[str, ...]:
        """Ask the question of a run again with something else instead of its picture, and return
        the ids that the runs will have.

        This is not a `Method`, because it makes new runs, which stream, are listed and can be read
        like any other, while a method makes a reading of an existing run.
        """
        generation = self._generation
        asked = tuple((new_run_id(), counterfactual) for counterfactual in counterfactuals)
        self._drop_background()
        run_ids = tuple(run_id for run_id, _ in asked)
        self._order(
            lambda: self._ask_against(of, asked, generation),
            *(partial(Trouble, run_id=run_id) for run_id in run_ids),
        )
        return run_ids

    def cancel(self) -> None:
        """End what runs now, within one layer or one token, and drop what was ordered before."""
        self._generation += 1
        for asking in self._asking:
            asking.cancel()

    def forget(self, run_id: str) -> None:
        """Cancel one run and whatever reads it, and keep nothing of it; all other orders stay.

        It ends within one layer, as a cancelled run; if its pass has not begun, it never does.
        """
        self._forgotten.add(run_id)
        for asking in self._asking:
            if asking.run_id == run_id:
                asking.cancel()
        for reading in list(self._readings.values()):
            reading.cancelled = reading.cancelled or reading.run_id == run_id

        def drop() -> None:
            self._runs.drop(run_id)
            self._forgotten.discard(run_id)

        self._order(drop)

    def stop(self) -> None:
        """Cancel everything and let the thread end by itself; does not wait for it."""
        self.cancel()
        self._lanes.end()

    def _order(self, order: Order, *failed: Callable[[str], Event]) -> None:
        """Put an order into the foreground.

        If it raises what it does not handle itself, each of `failed` makes, from the error's line,
        an event that ends what waits for the order.
        """

        def carry_out() -> None:
            try:
                order()
            except BaseException as error:  # a panic of Rust code, say, is no Exception
                for event in failed:
                    self._tell(event(typed_line(error)))

        self._lanes.put(carry_out)
        self._revive()

    def _revive(self) -> None:
        """Start another thread if the one that was started has died."""
        if self._thread.ident is not None and not self._thread.is_alive():
            self._thread = self._new_thread()
            self._thread.start()

    def _new_thread(self) -> threading.Thread:
        return threading.Thread(target=self._work, name="worker", daemon=True)

    def _work(self) -> None:
        while (order := self._lanes.take()) is not None:
            order()

    def _load(self, options: LoadOptions, generation: int) -> None:
        self._end_background()
        self._loaded = None
        self._runs.clear()
        give_memory_back()
        began = time.perf_counter()

        def tell(stage: str, fraction: float | None) -> None:
            if generation < self._generation:
                raise Cancelled("cancelled")
            self._tell(ModelLoading(stage, fraction))

        loaded = _loaded_or_failed(options, tell)
        if isinstance(loaded, ModelFailed):
            # Only here have the error and the half-loaded model in its frames been freed.
            give_memory_back()
            self._tell(loaded)
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
                phases={name: took for name, took in loaded.seconds.items() if name != TOTAL},
                keeps=REMEMBERED,
                keeps_everywhere=EVERYWHERE_REMEMBERED,
            )
        )

    def _ask(
        self, question: Question, run_id: str, track: tuple[int, ...], generation: int
    ) -> None:
        if generation < self._generation or run_id in self._forgotten:
            self._tell(RunEnded(_never_begun(question, run_id)))
            return
        if self._loaded is None:
            self._tell(Trouble(NO_MODEL, run_id, (Remedy.LOAD_MODEL,)))
            return
        self._end_background()
        from engine.asking.asking import Asking

        asking = Asking(self._loaded, question, run_id, track, reuse=True)
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
            Against(loaded, run, kept, counterfactual, run_id, reuse=True)
            for run_id, counterfactual in asked
        ]
        ended: set[str] = set()

        def end(against: Against, run: Run, comparison: Comparison) -> None:
            ended.add(run.id)
            if comparison.unavailable is not None:
                self._tell(RunStarted(run))
            # The picture's run must be kept at least as long as the runs compared with it.
            self._runs.renew(of)
            self._tell(ComparisonGrew(comparison))
            self._end(run, against.asking)

        def refuse(against: Against, error: LenscopeError) -> None:
            ended.add(against.run_id)
            self._tell(Trouble.of(error, against.run_id))

        listener = Listener(
            started=lambda run: self._tell(RunStarted(run)),
            read=lambda run, rows: self._tell(RowsRead(run.id, tuple(rows))),
            compared=lambda comparison: self._tell(ComparisonGrew(comparison)),
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
        """Call `run` while `cancel` can end the askings; tells errors, and then returns None."""
        self._asking = asking
        for each in asking:
            if generation < self._generation or each.run_id in self._forgotten:
                each.cancel()  # cancelled a moment ago
        try:
            return run()
        except LenscopeError as error:
            self._tell(Trouble.of(error, run_id))
        except BaseException as error:  # a panic of Rust code is no Exception
            self._tell(Trouble(typed_line(error), run_id))
        finally:
            self._asking = ()
        return None

    def _end(self, run: Run, asking: Asking) -> None:
        """Keep a run, so that more can be read from it, and tell that it has ended."""
        if asking.prepared is not None:
            self._runs.add(
                Subject(
                    asking.loaded,
                    run,
                    asking.prepared.inputs,
                    asking.kept,
                    everywhere=Everywhere(asking.everywhere),
                )
            )
        if run.status == "failed":
            give_memory_back()
        self._tell(RunEnded(run, asking.remedies))

    def _spell(self, typed: str) -> None:
        if self._loaded is None:
            self._tell(Trouble(NO_MODEL, remedies=(Remedy.LOAD_MODEL,)))
            return
        from engine.prompts.spellings import speller_of

        try:
            found = speller_of(self._loaded.model, self._loaded.processor).spellings(typed)
        except BaseException as error:
            self._tell(Trouble(typed_line(error)))
            return
        self._tell(SpellingsFound(typed, found))

    def _read_whole(self, job: ReadingJob) -> None:
        while self._read_on(job):
            pass

    def _read_on(self, job: ReadingJob) -> bool:
        """Carry out one step of a reading; whether more are to come."""
        more = False
        try:
            more = job.go_on(self._runs, self._tell)
        finally:
            if not more:
                self._readings.pop(job.id, None)
        return more

    def _end_background(self) -> None:
        """End the readings in the background that have been cancelled, so that nothing holds what
        they read from while another model is loaded or another pass runs."""
        for reading in list(self._readings.values()):
            if reading.background and reading.stop():
                reading.drop(self._tell)
                self._readings.pop(reading.id, None)

    def _drop_background(self) -> None:
        """Cancel all readings in the background, because a new run or another model is ordered."""
        for reading in list(self._readings.values()):
            reading.cancelled = reading.cancelled or reading.background


def _loaded_or_failed(
    options: LoadOptions, tell: Callable[[str, float | None], None]
) -> LoadedModel | ModelFailed:
    try:
        # Torch and transformers are imported here, in the worker's thread, so that the first frame
        # does not wait for them.
        return import_and_load(options, tell)
    except Cancelled:
        return ModelFailed(f"{options.model}: loading was cancelled")
    except LenscopeError as error:
        return ModelFailed(str(error), error.remedies)
    except BaseException as error:
        return ModelFailed(f"{options.model}: {typed_line(error)}")


def _never_begun(question: Question, run_id: str) -> Run:
    """The cancelled run of a question that was never begun."""
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
