"""Finding a token in the table, or in that of two runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from tui.actions.keymap import Keymap
from tui.main_screen import MainScreen
from tui.state.finding import Hit, found_in, found_words, next_row
from tui.state.table_look import TableLook
from tui.state.view_state import ViewState
from tui.text.show import display_text
from tui.widgets.find_line import FindLine
from tui.widgets.two_runs import Searched


class MainRows:
    """The table of layers as it is searched."""

    def __init__(self, main: MainScreen, state: ViewState) -> None:
        self._main = main
        self._state = state

    @property
    def find_line(self) -> FindLine:
        """See `Searched`."""
        return self._main.find_line

    @property
    def cursor(self) -> int:
        """See `Searched`."""
        return self._main.table.cursor

    @property
    def held(self) -> int:
        """See `Searched`."""
        run = self._state.here
        return max((len(row.top) for row in run.rows), default=0) if run else 0

    def hits(self, wanted: str) -> Sequence[Hit]:
        """See `Searched`."""
        run, is_ascii = self._state.here, self._main.table.ascii_only
        return [
            Hit(found.layer, f"{shown}: {found_words(found, f'row {found.layer}')}")
            for found in (found_in(run, wanted) if run else ())
            for shown in [display_text(found.token.text, ascii_only=is_ascii)]
        ]

    def mark(self, look: TableLook) -> None:
        """See `Searched`."""
        self._main.table.show(self._state.here, look)

    def go(self, row: int) -> None:
        """See `Searched`."""
        self._main.table.touched = True
        self._main.table.put_cursor(row)

    def set_open(self, is_open: bool) -> None:
        """See `Searched`."""
        self._main.set_class(is_open, "-finding")
        if not is_open:
            self._main.back_to_table()


class Search:
    """Marks the tokens found and moves between their rows, in the table that lies in front."""

    def __init__(
        self,
        front: Callable[[], Searched],
        state: ViewState,
        keymap: Keymap,
        say: Callable[[str], None],
    ) -> None:
        self._front = front
        self._keymap = keymap
        self._state = state
        self._say = say

    def open(self) -> None:
        """Open the line in which the user types what to find."""
        self._front().find_line.open()
        self._front().set_open(True)

    def typed(self, wanted: str) -> None:
        """Mark the tokens found and go to the first of their rows from the cursor on."""
        self._mark(wanted)
        found, front = self._rows(), self._front()
        if found and front.cursor not in found:
            self._go(next_row(found, front.cursor, 1))

    def closed(self, *, kept: bool) -> None:
        """Leave the search, with or without keeping the marks."""
        self._front().set_open(False)
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
        row = next_row(self._rows(), self._front().cursor, step)
        if row is None:
            self._say_none()
        else:
            self._go(row)
            self._say_found()

    def _mark(self, wanted: str) -> None:
        self._state.look = dataclasses.replace(self._state.look, find=wanted)
        self._front().mark(self._state.look)

    def _found(self) -> Sequence[Hit]:
        wanted = self._state.look.find
        return self._front().hits(wanted) if wanted else ()

    def _rows(self) -> list[int]:
        return [found.row for found in self._found()]

    def _go(self, row: int | None) -> None:
        if row is not None:
            self._front().go(row)

    def _say_none(self) -> None:
        key = self._keymap.first("track") or "the palette"
        self._say(
            f"no row holds {self._state.look.find!r} among its {self._front().held} best tokens: "
            f"{key} tracks a token at any rank"
        )

    def _say_found(self) -> None:
        every, here = self._found(), self._front().cursor
        rows = [found.row for found in every]
        if here not in rows:
            self._say(f"{self._state.look.find!r}: in {len(every)} rows; n and N go on")
            return
        at = rows.index(here)
        self._say(f"{every[at].words}; {at + 1} of {len(rows)} rows, n and N go on, / changes it")
