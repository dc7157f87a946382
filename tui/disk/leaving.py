"""Leaving the program by a key or by a signal, without losing anything unsaved."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable
from datetime import datetime
from typing import Final

from tui.disk.journal import Orphan, retire
from tui.disk.journal_keeper import JournalKeeper
from tui.disk.remembered import Remembered
from tui.disk.saving import keep_unsaved
from tui.state.view_state import ViewState

PATIENCE_SECONDS: Final = 5.0
"""After a signal the program ends within this time, even if the terminal does not respond."""


class Leaving:
    """Saves, once, what no file holds yet."""

    def __init__(
        self,
        state: ViewState,
        row: Callable[[], int],
        journal: JournalKeeper,
        remembered: Remembered,
        stop: Callable[[], None],
    ) -> None:
        """`row` returns the cursor's row; `stop` stops the worker."""
        self._state = state
        self._row = row
        self._journal = journal
        self._remembered = remembered
        self._stop = stop
        self._left = False
        self.kept_well = True
        self.last_words: str | None = None
        """A line to print after the explorer has released the terminal."""
        self.orphan: Orphan | None = None
        """The session of an explorer that was killed; offered once."""

    def offer(self, orphan: Orphan, key: str) -> None:
        """Offer a session that was not closed; `key` reopens it."""
        self.orphan = orphan
        session = orphan.session
        runs = count_of_runs(len(session.runs)) + _clock_time(session.saved)
        self._state.offer = f"a session of {runs} was not closed: {key} reopens it"

    def catch_signals(self, leave: Callable[[int], None]) -> None:
        """On a hang-up or a termination, keep what is unsaved and then leave with the exit code."""
        loop = asyncio.get_running_loop()

        def caught(number: int, _frame: object) -> None:
            # This is not a handler of the event loop: when the line drops, the loop may
            # be stuck writing to a terminal that is gone, and unsaved runs must be kept
            # all the same.
            if self.keep():
                code = 128 + number
                loop.call_soon_threadsafe(leave, code)
                watchdog = threading.Timer(PATIENCE_SECONDS, os._exit, (code,))
                watchdog.daemon = True
                watchdog.start()

        for number in (signal.SIGHUP, signal.SIGTERM):
            signal.signal(number, caught)

    def keep(self) -> bool:
        """Stop the worker and keep unsaved runs; return False if that was done already."""
        if self._left:  # a hang-up is often followed by a termination
            return False
        self._left = True
        self._stop()
        self.last_words, self.kept_well = keep_unsaved(self._state, self._row())
        self._journal.close(discard=self.kept_well)
        if self.orphan is not None:
            retire(self.orphan)  # it is offered once and stays among the kept sessions
        self._remembered.settle(0.5)
        return True


def count_of_runs(count: int) -> str:
    """Return such as "1 run", "2 runs"."""
    return f"{count} run" if count == 1 else f"{count} runs"


def _clock_time(saved: str) -> str:
    """Return the time of a stamp on the local clock."""
    try:
        return f" from {datetime.fromisoformat(saved).astimezone():%H:%M}"
    except ValueError:
        return ""
