"""The thread in which the passes of a model run.

Every model keeps one thread: a new thread for every pass would have to start a new pool of compute
threads, and would lose the memory that the last one had already touched.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from queue import SimpleQueue
from typing import Any, Final, TypeVar
from weakref import WeakKeyDictionary, finalize

from engine.system.steps import finished

Job = Callable[[], None]
Found = TypeVar("Found")

_POLL: Final = 0.02
"""Seconds between two looks at whether to stop."""

_queues: WeakKeyDictionary[Any, SimpleQueue[Job | None]] = WeakKeyDictionary()
_threads: WeakKeyDictionary[Any, threading.Thread] = WeakKeyDictionary()
_guard = threading.Lock()


def submit(model: Any, job: Job) -> None:
    """Run `job` in the model's thread, after the jobs submitted before.

    `job` tells its errors itself: one that raises ends the thread, and the next job starts another.
    """
    with _guard:
        jobs = _queues.get(model)
        if jobs is None:
            jobs = _queues[model] = SimpleQueue()
            finalize(model, jobs.put, None)
        thread = _threads.get(model)
        if thread is None or not thread.is_alive():
            thread = threading.Thread(target=_work, args=(jobs,), name="passes", daemon=True)
            _threads[model] = thread
            thread.start()
        jobs.put(job)


def waiting(
    model: Any,
    job: Callable[[], Found],
    stop: Callable[[], bool] = lambda: False,
    cancel: Callable[[], None] = lambda: None,
) -> Generator[None, None, Found]:
    """Run `job` in the model's thread; yield while it runs, then return or raise what it does.

    `cancel` is called once, soon after `stop()` is true, or when this is closed; the job is waited
    for in any case.
    """
    found: list[Found] = []
    errors: list[BaseException] = []
    over = threading.Event()

    def run() -> None:
        try:
            found.append(job())
        except BaseException as error:  # handed to the caller, whatever it is
            errors.append(error)
        finally:
            over.set()

    submit(model, run)
    stopped = False
    try:
        while not over.wait(_POLL):
            if not stopped and stop():
                stopped = True
                cancel()
            yield
    finally:
        if not over.is_set():
            cancel()
            over.wait()
    # Taken out, since the thread still refers to both for a moment: an error's frames hold tensors.
    if errors:
        raise errors.pop()
    return found.pop()


def waited_for(
    model: Any,
    job: Callable[[], Found],
    stop: Callable[[], bool] = lambda: False,
    cancel: Callable[[], None] = lambda: None,
) -> Found:
    """As `waiting`, at once."""
    return finished(waiting(model, job, stop, cancel))


def _work(jobs: SimpleQueue[Job | None]) -> None:
    while (job := jobs.get()) is not None:
        job()
        job = None  # lets go of the tensors that the job holds
