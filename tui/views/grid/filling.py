"""When the grid asks for its cells, and which row it wants first. Independent of Textual."""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic
from typing import Final

from msgspec import structs

from engine.errors import Remedy
from engine.events import Event, ReadingDropped, ReadingMade, Trouble
from engine.methods.grid import GridRequest
from engine.methods.words import WordsRequest
from engine.records import Request
from tui.state.heats import Heat
from tui.state.run_view import RunView
from tui.widgets.view_context import ViewContext

AGAIN_AFTER: Final = 0.3
"""Seconds between two requests for what is visible, each of which takes a pass."""
STAY_SECONDS: Final = 0.2
"""Seconds for which the cursor must stay in a row, once the views have followed it there, before
that row is asked for first: every request cancels the one before, and most rows are only passed."""


class Filling:
    """Keeps at most one request of a grid under way: of the shown run, its cursor's row first."""

    def __init__(self, context: ViewContext) -> None:
        self._context = context
        self._asker = context.asker
        self._run = ""
        self._request: Request | None = None
        self._id = ""
        self._asked_at = 0.0
        self._row: int | None = None
        """The row under the cursor, as last seen while a request was under way."""
        self._since = 0.0
        """Since when it is there, in seconds of the monotonic clock."""
        self._refused: dict[tuple[str, Request], str] = {}
        self._too_large: dict[str, str] = {}
        """Run id -> why not all of its positions can be read at once."""
        self.progress = ""
        """What is under way; empty when nothing is."""
        self.reason = ""
        """Why what is missing cannot be read; empty where it can, or where nothing is missing."""

    def follow(
        self, run: RunView, row: int, heat: Heat, word: int | None, visible: Sequence[int]
    ) -> float | None:
        """Ask for what is missing of a run's grid, at the visible positions if there is no memory
        for all. Return in how many seconds to call this again, or None."""
        wanted = self._wanted(run, row, heat, word, visible)
        self.progress, self.reason = "", ""
        if wanted is not None:
            key = (run.own.run.id, _without_first(wanted))
            self.reason = self._refused.get(key) or self._asker.why_not(run.own, wanted)
        if wanted is None or self.reason:
            self.stop()
            return None
        self.progress = self._done(run)
        if self._id and self._is_under_way(run, wanted):
            return self._first_row(run, wanted)
        wait = self._asked_at + AGAIN_AFTER - monotonic()
        if run.own.run.id in self._too_large and wait > 0:
            return wait  # each of these takes a pass
        self.stop()
        if self._asker.is_busy:
            return None
        self._ask(run, wanted)
        return None

    def stop(self) -> None:
        """Cancel what is under way."""
        if self._id:
            self._asker.cancel_reading(self._id)
        self._id, self._request = "", None

    def forget(self) -> None:
        """Cancel what is under way, and forget what could not be read."""
        self.stop()
        self._refused.clear()
        self._too_large.clear()

    def hear(self, events: Sequence[Event]) -> None:
        """Note how requests have ended."""
        for event in events:
            if not isinstance(event, ReadingMade | ReadingDropped | Trouble):
                continue
            if not self._id or event.request_id != self._id:
                continue
            if isinstance(event, Trouble) and Remedy.SOME_POSITIONS in event.remedies:
                self._too_large[self._run] = event.error
            elif isinstance(event, Trouble) and self._request is not None:
                key = (self._run, _without_first(self._request))
                self._refused[key] = self._context.said(event)
            self._id, self._request = "", None

    def limit(self, run: RunView) -> str:
        """Return why only what is visible of a run is read; empty where all of it is."""
        return self._too_large.get(run.own.run.id, "")

    def _wanted(
        self, run: RunView, row: int, heat: Heat, word: int | None, visible: Sequence[int]
    ) -> Request | None:
        """Return the request for what is missing; None if nothing is."""
        some = tuple(visible) if run.own.run.id in self._too_large else ()
        grid = GridRequest(kl=heat is Heat.KL, positions=some)
        if self._is_missing(run, grid):
            return structs.replace(grid, first=row)
        if heat is Heat.WORD and word is not None:
            words = WordsRequest(words=(f"#{word}",), positions=some)
            if run.reading_of("words", words) is None:
                return words
        return None

    def _is_missing(self, run: RunView, grid: GridRequest) -> bool:
        if not grid.positions:
            return run.reading_of("grid", grid) is None
        cells, rows = run.own.cells, run.own.run.layers + 1
        return cells is None or not all(
            cells.has(row, position, kl=grid.kl)
            for position in grid.positions
            for row in range(rows)
        )

    def _is_under_way(self, run: RunView, wanted: Request) -> bool:
        if self._run != run.own.run.id or self._request is None:
            return False
        return _without_first(self._request) == _without_first(wanted)

    def _first_row(self, run: RunView, wanted: Request) -> float | None:
        """Ask again with the row under the cursor first if that has not been read, and the cursor
        stays there."""
        if not isinstance(wanted, GridRequest) or not isinstance(self._request, GridRequest):
            return None
        cells, row = run.cells, wanted.first
        if row != self._row:
            self._row, self._since = row, monotonic()
        if row is None or self._request.first == row or (cells is not None and cells.has_row(row)):
            return None
        wait = self._since + STAY_SECONDS - monotonic()
        if wait > 0:
            return wait
        self.stop()
        self._ask(run, wanted)
        return None

    def _ask(self, run: RunView, wanted: Request) -> None:
        made = self._asker.read(run.own, wanted)
        if made is not None:
            self._run, self._request, self._id = run.own.run.id, wanted, made
            self._asked_at = monotonic()

    def _done(self, run: RunView) -> str:
        cells = run.cells
        rows = run.own.run.layers + 1
        done = cells.rows if cells is not None else 0
        return f"{done} of {rows} rows read" if done < rows else "reading"


def _without_first(request: Request) -> Request:
    return structs.replace(request, first=None) if isinstance(request, GridRequest) else request
