"""Keeps the journal up to date: soon after every change the newest session is on the disk."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from tui.disk.journal import Journal
from tui.state.view_state import ViewState

JOURNAL_SECONDS: Final = 1.0
"""Seconds until a change is written to the disk."""
RETRY_SECONDS: Final = 10.0
"""Seconds until it is tried again where that failed; each time twice as long."""
_LONGEST_RETRY: Final = 600.0


class JournalKeeper:
    """Writes the journal whenever the state's revision has changed."""

    def __init__(
        self,
        state: ViewState,
        row: Callable[[], int],
        later: Callable[[float, Callable[[], None]], object],
        *,
        autosave: bool,
        in_app: Callable[[Callable[[], None]], object],
        shown: Callable[[], None],
    ) -> None:
        """`row` returns the cursor's row; `later` calls a function after so many seconds, and
        `in_app`, which any thread may use, in the app's; `shown` shows the state's messages."""
        self._state = state
        self._row = row
        self._later = later
        self._in_app = in_app
        self._shown = shown
        self._journal = Journal(self._spoke)
        self._due = False
        self._retry = RETRY_SECONDS
        self._closed = False
        self._autosave = autosave
        if autosave:
            state.when_revised(self._revised)

    @property
    def path(self) -> Path | None:
        """Where the session is, if the journal has been written."""
        return self._journal.path

    def settle(self, seconds: float) -> Path | None:
        """Bring the journal up to date at once, where there is anything to keep; return its path,
        or None where the session is not in it."""
        if not self._autosave or self._closed or not self._state.unsaved_or_live:
            return None
        self._journal.write(self._state.session(row=self._row(), with_live=True))
        return self._journal.path if self._journal.settle(seconds) else None

    def close(self, *, discard: bool) -> None:
        """Close the journal; with `discard`, delete its file, because everything in it is saved
        elsewhere."""
        self._closed = True
        self._journal.close(discard=discard)

    def _revised(self) -> None:
        if not self._due and not self._closed and self._state.unsaved_or_live:
            self._write_after(JOURNAL_SECONDS)

    def _write_after(self, seconds: float) -> None:
        self._due = True
        self._later(seconds, self._write)

    def _write(self) -> None:
        self._due = False
        if not self._closed:
            self._journal.write(self._state.session(row=self._row(), with_live=True))

    def _spoke(self, failure: str | None) -> None:
        with suppress(RuntimeError):  # the app has exited
            self._in_app(lambda: self._take_failure(failure))

    def _take_failure(self, failure: str | None) -> None:
        self._state.note_journal(failure)
        self._shown()
        if failure is None:
            self._retry = RETRY_SECONDS
        elif not self._due and not self._closed:
            self._write_after(self._retry)
            self._retry = min(2 * self._retry, _LONGEST_RETRY)
