"""Keeps the journal up to date: soon after every change the newest session is on the disk."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from tui.disk.journal import Journal
from tui.state.view_state import ViewState

JOURNAL_SECONDS: Final = 1.0
"""Seconds until a change is written to the disk."""


class JournalKeeper:
    """Writes the journal whenever the state's revision has changed."""

    def __init__(
        self,
        state: ViewState,
        row: Callable[[], int],
        later: Callable[[float, Callable[[], None]], object],
        *,
        autosave: bool,
    ) -> None:
        """`row` returns the cursor's row; `later` calls a function after so many seconds."""
        self._state = state
        self._row = row
        self._later = later
        self._journal = Journal()
        self._due = False
        self._closed = False
        if autosave:
            state.when_revised(self._revised)

    def close(self, *, discard: bool) -> None:
        """Close the journal; with `discard`, delete its file, because everything in it is saved
        elsewhere."""
        self._closed = True
        self._journal.close(discard=discard)

    def _revised(self) -> None:
        if not self._due and not self._closed and self._state.unsaved_or_live:
            self._due = True
            self._later(JOURNAL_SECONDS, self._write)

    def _write(self) -> None:
        self._due = False
        if not self._closed:
            self._journal.write(self._state.session(row=self._row(), with_live=True))
