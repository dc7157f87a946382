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
}
"""What is not known where a request cannot be made; of words it is plain."""


class Asking:
    """Requests readings of one run, each once at a time."""

    def __init__(self, run: RunView, context: ViewContext) -> None:
        self._run = run
        self._shared = context
        self._asker = context.asker
        self._open: dict[str, Request] = {}
        self._troubles: dict[type[Request], str] = {}
        """What went wrong with each kind of request; safe for display."""
        self.progress = ""
        """How far what is being read has come."""

    @property
    def trouble(self) -> str:
        """What went wrong last; safe for display."""
        return next(reversed(self._troubles.values()), "")

    def forget_trouble(self, *kinds: type[Request]) -> None:
        """Forget what went wrong with requests of these kinds; of all kinds without any."""
        for kind in kinds or tuple(self._troubles):
            self._troubles.pop(kind, None)

    def _fail(self, request: Request, why: str) -> None:
        self._troubles.pop(type(request), None)  # the newest one comes last
        self._troubles[type(request)] = why

    def ask(self, request: Request) -> bool:
        """Request a reading; return whether it is on its way, or else set `trouble`."""
        if any(_same(request, known) for known in self._open.values()):
            return True
        made = self._asker.read(self._run, request)
        if made is None:
            reason = self._asker.why_not(self._run, request) or "the model is busy"
            name = _NAMES.get(type(request))
            self._fail(request, f"{name} is not known: {reason}" if name else f"not read: {reason}")
            return False
        self._open[made] = request
        self.progress = "reading"
        return True

    @property
    def fills(self) -> bool:
        """Whether the grid is being read."""
        return self.waits_for(GridRequest)

    def waits_for(self, kind: type[Request]) -> bool:
        """Return whether a request of a kind has not been answered."""
        return any(isinstance(request, kind) for request in self._open.values())

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
                case ReadingDropped() if event.request_id in self._open:
                    request = self._open.pop(event.request_id)
                    self._fail(request, "the reading was interrupted: r reads on")
                case Trouble() if event.request_id in self._open:
                    self._take_trouble(self._open.pop(event.request_id), event)
        if not self._open:
            self.progress = ""
        return made

    def _take_trouble(self, request: Request, event: Trouble) -> None:
        """Note what went wrong. Where several words were asked for, one of them may be at fault:
        each is asked for by itself then."""
        self._asker.is_told(event)
        if isinstance(request, WordsRequest) and len(request.words) > 1:
            for word in request.words:
                self.ask(replace(request, words=(word,)))
            return
        self._fail(request, self._shared.said(event))

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
