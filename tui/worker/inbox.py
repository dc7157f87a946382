"""Passes events from the worker's thread to the app, at a pace that a terminal can follow."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from time import monotonic

from textual.app import App
from textual.message import Message

from engine.events import Event


class WorkerSpoke(Message):
    """Events are waiting in the inbox."""


class Inbox:
    """Takes events from any thread and wakes the app at most `rate` times a second.

    No timer runs while no events arrive.
    """

    def __init__(self, app: App[int], rate: float) -> None:
        self._app = app
        self._pause = 1 / rate
        self._events: deque[Event] = deque()
        self._lock = threading.Lock()
        self._woken = False
        self._last = 0.0

    def tell(self, event: Event) -> None:
        """Add an event; called from the worker's thread."""
        with self._lock:
            self._events.append(event)
            wake = not self._woken
            self._woken = True
        if wake:
            try:
                self._app.post_message(WorkerSpoke())
            except RuntimeError:  # the app has exited
                return

    def deliver(self, take: Callable[[list[Event]], None]) -> None:
        """Pass the waiting events to `take`, now or as soon as the pace allows; called in the
        app's thread."""
        wait = self._last + self._pause - monotonic()
        if wait > 0:
            self._app.set_timer(wait, lambda: self._hand_over(take))
        else:
            self._hand_over(take)

    def _hand_over(self, take: Callable[[list[Event]], None]) -> None:
        with self._lock:
            events = list(self._events)
            self._events.clear()
            self._woken = False
        self._last = monotonic()
        if events:
            take(events)
