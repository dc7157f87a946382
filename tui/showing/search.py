"""Finding a token in the table."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from tui.main_screen import MainScreen
from tui.state.finding import next_row, rows_with
from tui.state.view_state import ViewState


class Search:
    """Marks the tokens found and moves between their rows."""

    def __init__(self, main: MainScreen, state: ViewState, say: Callable[[str], None]) -> None:
        self._main = main
        self._state = state
        self._say = say

    def open(self) -> None:
        """Open the line in which the user types what to find."""
        self._main.find_line.open()
        self._main.set_class(True, "-finding")

    def typed(self, wanted: str) -> None:
        """Mark the tokens found and go to the first of their rows from the cursor on."""
        self._mark(wanted)
        found, table = self._found(), self._main.table
        if found and table.cursor not in found:
            self._go(next_row(found, table.cursor, 1))

    def closed(self, *, kept: bool) -> None:
        """Leave the search, with or without keeping the marks."""
        self._main.set_class(False, "-finding")
        self._main.back_to_table()
        if not kept:
            self._mark("")
        elif not self._found():
            self._say_none()
        else:
            self._say_found()

    def next(self, step: int) -> None:
        """Go to the next (or previous) row with a token found."""
        if not self._state.look.find:
            self.open()
            return
        row = next_row(self._found(), self._main.table.cursor, step)
        if row is None:
            self._say_none()
        else:
            self._go(row)
            self._say_found()

    def _mark(self, wanted: str) -> None:
        self._state.look = dataclasses.replace(self._state.look, find=wanted)
        self._main.table.show(self._state.here, self._state.look)

    def _found(self) -> list[int]:
        run = self._state.here
        return rows_with(run.rows, self._state.look.find, self._state.top_k) if run else []

    def _go(self, row: int | None) -> None:
        if row is not None:
            self._main.table.touched = True
            self._main.table.put_cursor(row)

    def _say_none(self) -> None:
        self._say(f"no row shows {self._state.look.find!r} among its top {self._state.top_k}")

    def _say_found(self) -> None:
        found, here = self._found(), self._main.table.cursor
        place = found.index(here) + 1 if here in found else "-"
        self._say(
            f"{self._state.look.find!r}: row {place} of {len(found)}; n and N go on, / changes it"
        )
