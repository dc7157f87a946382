"""Orders for one thread in two lanes: what somebody waits for, and what gives way to it."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

Order = Callable[[], None]
Step = Callable[[], bool]
"""Does a little of a long piece of work; returns whether there is more to do."""


class Lanes:
    """Orders come out in the order in which they were put in, all of the foreground first.

    Background work is taken a step at a time, so that an order waits for one step at most.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._orders: deque[Order] = deque()
        self._background: deque[Step] = deque()
        self._ended = False

    def put(self, order: Order) -> None:
        """Put an order into the foreground; from any thread."""
        with self._changed:
            self._orders.append(order)
            self._changed.notify()

    def put_background(self, step: Step) -> None:
        """Put work into the background: `step` is called until it returns False."""
        with self._changed:
            self._background.append(step)
            self._changed.notify()

    def end(self) -> None:
        """Let `take` return None once the foreground is empty; the background is given up."""
        with self._changed:
            self._ended = True
            self._background.clear()
            self._changed.notify()

    def take(self) -> Order | None:
        """Wait for the next order, or the next step of the background; None at the end."""
        with self._changed:
            while not (self._orders or self._background or self._ended):
                self._changed.wait()
            if self._orders:
                return self._orders.popleft()
            if self._ended:
                return None
            step = self._background[0]
        return lambda: self._go_on(step)

    def _go_on(self, step: Step) -> None:
        more = False
        try:
            more = step()
        finally:
            with self._changed:
                if not more and self._background and self._background[0] is step:
                    self._background.popleft()
