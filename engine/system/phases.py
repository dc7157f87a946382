"""How long each phase of a piece of work takes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

TOTAL = "total"
"""The name under which the whole stands among the seconds of its phases."""


class Stopwatch:
    """Seconds of a piece of work, by the names of its phases."""

    def __init__(self) -> None:
        self._began = self._since = time.perf_counter()
        self._seconds: dict[str, float] = {}
        self._open: list[str] = []

    @property
    def seconds(self) -> dict[str, float]:
        """The seconds that each phase took, in the order in which they began, then the total.

        No second counts twice, and what belongs to no phase counts in the total alone.
        """
        self._count()
        return {**self._seconds, TOTAL: time.perf_counter() - self._began}

    def enter(self, name: str) -> None:
        """Begin a phase; the one that surrounds it stands still until `leave`."""
        self._count()
        self._open.append(name)
        self._seconds.setdefault(name, 0.0)

    def leave(self) -> None:
        """End the phase that began last."""
        self._count()
        self._open.pop()

    def _count(self) -> None:
        now = time.perf_counter()
        if self._open:
            self._seconds[self._open[-1]] += now - self._since
        self._since = now


_running: ContextVar[Stopwatch | None] = ContextVar("stopwatch", default=None)


@contextmanager
def timed() -> Iterator[Stopwatch]:
    """Measure the phases of this thread; within another `timed`, with the stopwatch of that one."""
    running = _running.get()
    if running is not None:
        yield running
        return
    stopwatch = Stopwatch()
    token = _running.set(stopwatch)
    try:
        yield stopwatch
    finally:
        _running.reset(token)


@contextmanager
def phase(name: str) -> Iterator[None]:
    """Count this time as a phase, if it is being measured."""
    stopwatch = _running.get()
    if stopwatch is None:
        yield
        return
    stopwatch.enter(name)
    try:
        yield
    finally:
        stopwatch.leave()
