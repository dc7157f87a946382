"""Keys that are typed faster than they are handled.

Textual forwards a key to the widget that has the focus at that moment, and the key then travels
from there up to the application, which looks for what is bound to it. A key that closes a dialog
takes keys with it that were forwarded before the dialog was closed, and those that follow mean
something else without them. So one key travels at a time; the others wait here.
"""

from __future__ import annotations

from collections import deque

from textual.events import Key, Paste
from textual.message import Message


class Arrived(Message):
    """Follows an input event on its way up, and arrives when that has been handled."""

    def __init__(self, number: int) -> None:
        """`number` says after which event, or change of screen, it was sent."""
        super().__init__()
        self.number = number


class TypedAhead:
    """What has been typed and is not forwarded yet, and the number of what is on its way."""

    def __init__(self) -> None:
        self._waiting: deque[Key | Paste] = deque()
        self._count = 0
        self._under_way: int | None = None
        self._waited_for: int | None = None

    def wait(self, event: Key | Paste) -> None:
        """Let an event wait until it is its turn."""
        self._waiting.append(event)

    def next(self) -> Key | Paste | None:
        """The event whose turn it is, if nothing is on its way."""
        return self._waiting.popleft() if self._waiting and self._under_way is None else None

    def sent(self) -> Arrived:
        """Something is on its way: what to send after it."""
        self._count += 1
        self._under_way = self._count
        return Arrived(self._count)

    def arrived(self, number: int) -> None:
        """Take note that what was sent last has been handled; older numbers mean nothing."""
        if number == self._under_way:
            self._under_way = None

    def waited_for(self) -> Arrived | None:
        """What stands for the arrival of what others wait for; once for each thing on its way."""
        if not self._waiting or self._under_way in (None, self._waited_for):
            return None
        self._waited_for = self._under_way
        return Arrived(self._count)
