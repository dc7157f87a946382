"""The thread in which the passes of a model run.

Every model keeps one thread: a new thread for every pass would have to start a new pool of compute
threads, and would lose the memory that the last one had already touched.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any
from weakref import WeakKeyDictionary, finalize

Job = Callable[[], None]

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


def _work(jobs: SimpleQueue[Job | None]) -> None:
    while (job := jobs.get()) is not None:
        job()
        job = None  # lets go of the tensors that the job holds
