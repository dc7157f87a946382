"""Passes events from the worker's thread to the app, at a pace that a terminal can follow."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from enum import IntEnum
from time import monotonic
from typing import Final

from textual.app import App
from textual.message import Message
from textual.timer import Timer

from engine.events import Event, RunEnded, RunStarted

START_ALONE_SECONDS: Final = 0.1
"""Seconds after which a run whose first rows are not there yet takes the place of the one before:
most come within them, and nothing flickers."""


class WorkerSpoke(Message):
    """Events are waiting in the inbox."""


class _Urgency(IntEnum):
    """How soon an event is to be seen."""

    NONE = 0
    """There is no event."""
    WITH_ROWS = 1
    """Together with the first rows, or after `START_ALONE_SECONDS`."""
    PACED = 2
    """As soon as the pace allows."""
    AT_ONCE = 3
    """At once: nothing follows that it could be seen with."""

    @classmethod
    def of(cls, event: Event) -> _Urgency:
        if isinstance(event, RunEnded):
            return cls.AT_ONCE
        return cls.WITH_ROWS if isinstance(event, RunStarted) else cls.PACED


class Inbox:
    """Takes events from any thread and hands them to the app together: at most `rate` times a
    second, not within the first such pause of a run, and whenever a run has ended.

    For each hand-over the app draws a frame, and a pass on a GPU, which waits for the interpreter's
    lock as long as it launches kernels, is the slower for it; a pass that takes no longer than a
    frame is drawn once. No timer runs while no events arrive.
    """

    def __init__(self, app: App[int], rate: float) -> None:
        self._app = app
        self._pause = 1 / rate
        self._events: deque[Event] = deque()
        self._lock = threading.Lock()
        self._urgency = _Urgency.NONE
        """That of the most urgent event that is waiting."""
        self._started = 0.0
        """When a run has started last; this and the next in seconds of the monotonic clock."""
        self._last = 0.0
        """When events were handed over last."""
        self._timer: Timer | None = None

    def tell(self, event: Event) -> None:
        """Add an event; called from the worker's thread."""
        urgency = _Urgency.of(event)
        with self._lock:
            if urgency is _Urgency.WITH_ROWS:
                self._started = monotonic()
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
        if self._timer is not None:
            self._timer.stop()
            self._timer = None
        wait = self._due() - monotonic()
        if wait > 0:
            self._timer = self._app.set_timer(wait, lambda: self._hand_over(take))
        else:
            self._hand_over(take)

    def _due(self) -> float:
        with self._lock:
            match self._urgency:
                case _Urgency.WITH_ROWS:
                    return self._started + START_ALONE_SECONDS
                case _Urgency.PACED:
                    return max(self._last, self._started) + self._pause
        return 0.0

    def _hand_over(self, take: Callable[[list[Event]], None]) -> None:
        with self._lock:
            events = list(self._events)
            self._events.clear()
            self._urgency = _Urgency.NONE
        if events:  # a run that ends may have been taken before its message arrives
            self._last = monotonic()
            take(events)
