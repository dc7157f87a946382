"""Passes events from the worker's thread to the app, at a pace that a terminal can follow."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from enum import IntEnum
from time import monotonic

from textual.app import App
from textual.message import Message
from textual.timer import Timer

from engine.events import Event, RunEnded, RunStarted


class WorkerSpoke(Message):
    """Events are waiting in the inbox."""


class _Urgency(IntEnum):
    """How soon an event is to be seen."""

    NONE = 0
    """There is no event."""
    WITH_THE_NEXT = 1
    """With what follows it, or after a pause: the rows of a quick pass follow its start at once,
    and a table that is emptied and filled is two frames."""
    PACED = 2
    """As soon as the pace allows."""
    AT_ONCE = 3
    """At once: nothing follows that it could be seen with."""

    @classmethod
    def of(cls, event: Event) -> _Urgency:
        if isinstance(event, RunEnded):
            return cls.AT_ONCE
        return cls.WITH_THE_NEXT if isinstance(event, RunStarted) else cls.PACED


class Inbox:
    """Takes events from any thread and hands them to the app together, at most `rate` times a
    second and whenever a run has ended.

    Each time the app draws a frame, for which it holds the interpreter's lock, and a pass on a GPU
    waits for that lock as long as it launches kernels. No timer runs while no events arrive.
    """

    def __init__(self, app: App[int], rate: float) -> None:
        self._app = app
        self._pause = 1 / rate
        self._events: deque[Event] = deque()
        self._lock = threading.Lock()
        self._urgency = _Urgency.NONE
        """That of the most urgent event that is waiting."""
        self._last = 0.0
        self._timer: Timer | None = None

    def tell(self, event: Event) -> None:
        """Add an event; called from the worker's thread."""
        urgency = _Urgency.of(event)
        with self._lock:
            self._events.append(event)
            wake = urgency > self._urgency
            if wake:
                self._urgency = urgency
        if wake:
            try:
                self._app.post_message(WorkerSpoke())
            except RuntimeError:  # the app has exited
                return

    def deliver(self, take: Callable[[list[Event]], None]) -> None:
        """Pass the waiting events to `take`, now or as soon as they are due; called in the app's
        thread."""
        now = monotonic()
        due = {
            _Urgency.WITH_THE_NEXT: now + self._pause,
            _Urgency.PACED: self._last + self._pause,
        }.get(self._urgency, now)
        if self._timer is not None:
            self._timer.stop()
            self._timer = None
        if due > now:
            self._timer = self._app.set_timer(due - now, lambda: self._hand_over(take))
        else:
            self._hand_over(take)

    def _hand_over(self, take: Callable[[list[Event]], None]) -> None:
        with self._lock:
            events = list(self._events)
            self._events.clear()
            self._urgency = _Urgency.NONE
        self._last = monotonic()
        if events:
            take(events)
