"""What the picture's screen asks the worker for, and what has come of it. Without Textual."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec.structs import replace

from engine.events import Event, ReadingDropped, ReadingGrew, ReadingMade, Trouble
from engine.methods.geometry import GeometryRequest
from engine.methods.grid import GridPart, GridRequest
from engine.methods.words import WordsPart, WordsRequest
from engine.records import Request
from tui.state.run_view import RunView
from tui.widgets.view_context import ViewContext

_NAMES: Final = {
    GeometryRequest: "which part of the picture a patch shows",
    GridRequest: "the grid",
    WordsRequest: "where this word is",
}


class Asking:
    """Requests readings of one run, each once at a time."""

    def __init__(self, run: RunView, context: ViewContext) -> None:
        self._run = run
        self._shared = context
        self._asker = context.asker
        self._open: dict[str, Request] = {}
        self.trouble = ""
        """What went wrong last; safe for display."""
        self.progress = ""
        """How far what is being read has come."""

    def ask(self, request: Request) -> bool:
        """Request a reading; return whether it is on its way, or else set `trouble`."""
        if any(_same(request, known) for known in self._open.values()):
            return True
        made = self._asker.read(self._run, request)
        if made is None:
            reason = self._asker.why_not(self._run, request) or "the model is busy"
            self.trouble = f"{_NAMES[type(request)]} is not known: {reason}"
            return False
        self._open[made] = request
        self.progress = "reading"
        return True

    @property
    def fills(self) -> bool:
        """Whether the grid is being read."""
        return any(isinstance(request, GridRequest) for request in self._open.values())

    def read_first(self, row: int) -> None:
        """Let the grid that is being read go on with another row; what has been read of it is
        remembered by the worker."""
        for request_id, request in [*self._open.items()]:
            if isinstance(request, GridRequest) and request.first != row:
                del self._open[request_id]
                self._asker.cancel_reading(request_id)
                self.ask(replace(request, first=row))

    def stop(self) -> None:
        """Cancel what has not been answered."""
        for request_id in self._open:
            self._asker.cancel_reading(request_id)
        self._open.clear()

    def hear(self, events: Sequence[Event]) -> list[ReadingMade]:
        """Note how far requests have come; return the readings of this run that were made."""
        mine = self._run.run.id
        made = []
        for event in events:
            match event:
                case ReadingGrew() if event.run_id == mine:
                    self._grow(event)
                case ReadingMade() if event.run_id == mine:
                    self._open.pop(event.request_id, None)
                    made.append(event)
                case ReadingDropped() if self._open.pop(event.request_id, None) is not None:
                    self.trouble = "the reading was interrupted: r reads on"
                case Trouble() if self._open.pop(event.request_id or "", None) is not None:
                    self.trouble = self._shared.said(event)
        if not self._open:
            self.progress = ""
        return made

    def _grow(self, event: ReadingGrew) -> None:
        if event.request_id not in self._open:
            return
        cells, part = self._run.cells, event.part
        if isinstance(part, GridPart) and cells is not None:
            self.progress = f"{cells.rows} of {part.of} rows read"
        elif isinstance(part, WordsPart):
            self.progress = f"{part.done} of {part.of} rows read"


def _same(one: Request, other: Request) -> bool:
    if isinstance(one, GridRequest) and isinstance(other, GridRequest):
        return replace(one, first=None) == replace(other, first=None)
    return one == other
