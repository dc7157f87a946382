"""Leaving the program by a key or by a signal, without losing anything unsaved."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Final

from tui.disk.journal_keeper import JournalKeeper
from tui.disk.orphans import Orphan, retire
from tui.disk.remembered import Remembered
from tui.disk.saving import Kept, keep_unsaved
from tui.state.view_state import Note, ViewState
from tui.text.numbers import count_of_runs

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
        self._asked = False
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
        """On a signal that ends the program, keep what is unsaved and then leave with the exit
        code. In the terminal ctrl+c is a key; an interrupt comes from outside."""
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

        for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
            signal.signal(number, caught)

    def keep_or_ask(self) -> bool:
        """Keep unsaved runs and return True; where no place takes them, the first time, only say so
        and return False."""
        kept = keep_unsaved(self._state, self._row())
        if kept.well or self._asked:
            return self.keep(kept)
        self._asked = True
        self._state.note = Note(kept.line or "", "error", "q again leaves without them")
        return False

    def keep(self, kept: Kept | None = None) -> bool:
        """Stop the worker and keep unsaved runs, if that was not done just now; return False if the
        program is being left already."""
        if self._left:  # a hang-up is often followed by a termination
            return False
        self._left = True
        self._stop()
        kept = kept or keep_unsaved(self._state, self._row())
        self.last_words, self.kept_well = kept.line, kept.well
        self._journal.close(discard=kept.well)
        if not kept.well and self._journal.path is not None:
            self.last_words = f"{kept.line}; {_in_journal(self._journal.path)}"
        self._retire_offered()
        return True

    def after_crash(self) -> str | None:
        """Bring to the disk what is unsaved after an error of our own; return a line that says
        where it is and how it is opened again, or None where there was nothing."""
        if self._left:
            return self.last_words
        self._left = True
        self._stop()
        journal = None
        with suppress(Exception):  # whatever the state is in: the journal has the last second's
            journal = self._journal.settle(PATIENCE_SECONDS)
        if journal is None:
            with suppress(Exception):
                kept = keep_unsaved(self._state, self._row())
                if kept.well:
                    self._journal.close(discard=True)
                    self._retire_offered()
                    return kept.line and f"{kept.line}: `lenscope {kept.path}` opens them"
            journal = self._journal.path
        self._journal.close(discard=False)
        return None if journal is None else _in_journal(journal)

    def _retire_offered(self) -> None:
        if self.orphan is not None:
            retire(self.orphan)  # it is offered once and stays among the kept sessions
        self._remembered.settle(0.5)


def _in_journal(path: Path) -> str:
    return f"the session is in {path}: `lenscope --resume` opens it"


def _clock_time(saved: str) -> str:
    """Return the time of a stamp on the local clock."""
    try:
        return f" from {datetime.fromisoformat(saved).astimezone():%H:%M}"
    except ValueError:
        return ""
