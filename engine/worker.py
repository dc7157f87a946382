"""One daemon thread that loads models and asks them, telling plain events to the outside."""

from __future__ import annotations

import queue
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from engine.errors import Cancelled, LenscopeError
from engine.events import (
    AnswerGrew,
    Event,
    LoadOptions,
    ModelFailed,
    ModelLoading,
    ModelReady,
    RowsRead,
    RunEnded,
    RunStarted,
    Trouble,
)
from engine.memory import give_memory_back
from engine.records import Question, Run
from engine.stamps import new_run_id, now

if TYPE_CHECKING:
    from engine.asking import Asking
    from engine.loading import Loaded

REMEMBERED = 8
"""Runs whose inputs are kept so that their answer can be continued."""


class Worker:
    """Takes orders from any thread and carries them out one by one, in order.

    `tell` is called from the worker's thread with every event. Nothing here waits for the caller,
    and the thread is a daemon: the program can end while a pass runs.
    """

    def __init__(self, tell: Callable[[Event], None]) -> None:
        self._tell = tell
        self._orders: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="worker", daemon=True)
        self._loaded: Loaded | None = None
        self._asking: Asking | None = None
        self._inputs: OrderedDict[str, dict[str, Any]] = OrderedDict()
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

    def ask(self, question: Question) -> str:
        """Ask the loaded model; the id that the run will have."""
        run_id, generation = new_run_id(), self._generation
        self._orders.put(lambda: self._ask(question, run_id, generation))
        return run_id

    def continue_answer(self, run_id: str, max_tokens: int = 20) -> None:
        """Continue the answer of a run of this worker's, greedily."""
        generation = self._generation
        self._orders.put(lambda: self._continue(run_id, max_tokens, generation))

    def cancel(self) -> None:
        """End what runs now, within one layer or one token, and what was asked before now."""
        self._generation += 1
        self._cancelled.set()
        asking = self._asking
        if asking is not None:
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
        self._inputs.clear()
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
            from engine.loading import load_with

            loaded = load_with(options, tell)
        except Cancelled:
            failure = f"{options.model}: loading was cancelled"
        except LenscopeError as error:
            failure = str(error)
        except Exception as error:
            failure = f"{options.model}: {_one_line(error)}"
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

    def _ask(self, question: Question, run_id: str, generation: int) -> None:
        if generation < self._generation:
            self._tell(RunEnded(_never_begun(question, run_id)))
            return
        if self._loaded is None:
            self._tell(Trouble("no model is loaded", run_id))
            return
        from engine.asking import Asking

        asking = self._asking = Asking(self._loaded, question, run_id)
        if generation < self._generation:  # cancelled a moment ago
            asking.cancel()
        try:
            run = asking.run(
                started=lambda run: self._tell(RunStarted(run)),
                read=lambda rows: self._tell(RowsRead(run_id, tuple(rows))),
            )
        except LenscopeError as error:
            self._tell(Trouble(str(error), run_id))
            return
        except Exception as error:
            self._tell(Trouble(_one_line(error), run_id))
            return
        finally:
            self._asking = None
        if asking.prepared is not None:
            self._remember(run_id, asking.prepared.inputs)
        if run.status == "failed":
            give_memory_back()
        self._tell(RunEnded(run))

    def _continue(self, run_id: str, max_tokens: int, generation: int) -> None:
        if generation < self._generation:
            self._tell(AnswerGrew(run_id, "", ended=True))
            return
        inputs = self._inputs.get(run_id)
        if self._loaded is None or inputs is None:
            self._tell(Trouble("ask again first: this run's inputs are gone", run_id))
            return
        from engine.asking import continue_greedily, explain

        try:
            continue_greedily(
                self._loaded,
                inputs,
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

    def _remember(self, run_id: str, inputs: dict[str, Any]) -> None:
        self._inputs[run_id] = inputs
        while len(self._inputs) > REMEMBERED:
            self._inputs.popitem(last=False)


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


def _one_line(error: BaseException) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:300]
