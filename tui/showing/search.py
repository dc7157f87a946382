"""Finding a token in the table."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from tui.actions.keymap import Keymap
from tui.main_screen import MainScreen
from tui.state.finding import Found, found_in, next_row
from tui.state.view_state import ViewState
from tui.text.numbers import figure
from tui.text.show import display_text


class Search:
    """Marks the tokens found and moves between their rows."""

    def __init__(
        self, main: MainScreen, state: ViewState, keymap: Keymap, say: Callable[[str], None]
    ) -> None:
        self._main = main
        self._keymap = keymap
        self._state = state
        self._say = say

    def open(self) -> None:
        """Open the line in which the user types what to find."""
        self._main.find_line.open()
        self._main.set_class(True, "-finding")

    def typed(self, wanted: str) -> None:
        """Mark the tokens found and go to the first of their rows from the cursor on."""
        self._mark(wanted)
        found, table = self._rows(), self._main.table
        if found and table.cursor not in found:
            self._go(next_row(found, table.cursor, 1))

    def closed(self, *, kept: bool) -> None:
        """Leave the search, with or without keeping the marks."""
        self._main.set_class(False, "-finding")
        self._main.back_to_table()
        if not kept:
            self._mark("")
        elif not self._rows():
            self._say_none()
        else:
            self._say_found()

    def next(self, step: int) -> None:
        """Go to the next (or previous) row with a token found."""
        if not self._state.look.find:
            self.open()
            return
        row = next_row(self._rows(), self._main.table.cursor, step)
        if row is None:
            self._say_none()
        else:
            self._go(row)
            self._say_found()

    def _mark(self, wanted: str) -> None:
        self._state.look = dataclasses.replace(self._state.look, find=wanted)
        self._main.table.show(self._state.here, self._state.look)

    def _found(self) -> list[Found]:
        run = self._state.here
        return found_in(run, self._state.look.find) if run else []

    def _rows(self) -> list[int]:
        return [found.layer for found in self._found()]

    def _go(self, row: int | None) -> None:
        if row is not None:
            self._main.table.touched = True
            self._main.table.put_cursor(row)

    def _say_none(self) -> None:
        run, key = self._state.here, self._keymap.first("track") or "the palette"
        held = max((len(row.top) for row in run.rows), default=0) if run else 0
        self._say(
            f"no row holds {self._state.look.find!r} among its {held} best tokens: "
            f"{key} tracks a token at any rank"
        )

    def _say_found(self) -> None:
        every, here = self._found(), self._main.table.cursor
        rows = [found.layer for found in every]
        if here not in rows:
            self._say(f"{self._state.look.find!r}: in {len(every)} rows; n and N go on")
            return
        found = every[rows.index(here)]
        shown = display_text(found.token.text, ascii_only=self._main.table.ascii_only)
        self._say(
            f"{shown}: row {here} rank {found.rank}, {figure(found.token.probability).strip()}; "
            f"{rows.index(here) + 1} of {len(rows)} rows, n and N go on, / changes it"
        )
