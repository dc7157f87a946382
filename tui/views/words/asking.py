"""What the picture's screen asks the worker for, and what has come of it. Without Textual."""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from engine.events import ReadingGrew, Trouble
from engine.methods.geometry import GeometryRequest
from engine.methods.grid import GridPart, GridRequest
from engine.methods.words import WordsPart, WordsRequest
from engine.records import Request
from tui.state.run_view import RunView
from tui.widgets.asking import Asking
from tui.widgets.view_context import ViewContext

_NAMES: Final[dict[type[Request], str]] = {
    GeometryRequest: "which part of the picture a patch shows",
    GridRequest: "the grid",
}
"""What is not known where a request cannot be made; of words it is plain."""


class AskingWords(Asking):
    """Requests patches, grids and words of one run."""

    def __init__(self, run: RunView, context: ViewContext) -> None:
        super().__init__(run, context, _NAMES)

    @property
    def fills(self) -> bool:
        """Whether the grid is being read."""
        return self.waits_for(GridRequest)

    def read_first(self, row: int) -> None:
        """Let the grid that is being read go on with another row; what has been read of it is
        remembered by the worker."""
        for request_id, request in [*self._open.items()]:
            if isinstance(request, GridRequest) and request.first != row:
                del self._open[request_id]
                self._asker.cancel_reading(request_id)
                self.ask(replace(request, first=row))

    def same(self, one: Request, other: Request) -> bool:
        """Return whether two requests get the same reading: the grid does not depend on the row
        that is read first."""
        if isinstance(one, GridRequest) and isinstance(other, GridRequest):
            return replace(one, first=None) == replace(other, first=None)
        return one == other

    def take_trouble(self, request: Request, event: Trouble) -> None:
        """Note what went wrong. Where several words were asked for, one of them may be at fault:
        each is asked for by itself then."""
        if isinstance(request, WordsRequest) and len(request.words) > 1:
            for word in request.words:
                self.ask(replace(request, words=(word,)))
            return
        super().take_trouble(request, event)

    def grow(self, request: Request, event: ReadingGrew) -> None:
        """Note how many rows have been read."""
        cells, part = self._run.cells, event.part
        if isinstance(part, GridPart) and cells is not None:
            self.progress = f"{cells.rows} of {part.of} rows read"
        elif isinstance(part, WordsPart):
            self.progress = f"{part.done} of {part.of} rows read"
