"""What the screen of parts asks the worker for, and what has come of it. Without Textual."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from engine.events import ReadingGrew
from engine.methods.geometry import GeometryRequest
from engine.methods.parts import PartsPart, PartsRequest
from engine.records import Request
from tui.state.run_view import RunView
from tui.widgets.asking_looks import AskingLooks
from tui.widgets.view_context import ViewContext

_NAMES: Final[dict[type[Request], str]] = {
    GeometryRequest: "which part of the picture a patch shows",
    PartsRequest: "what each part adds",
}


class AskingParts(AskingLooks):
    """Requests patches and parts of one run, and first the run without the picture if its shares
    are subtracted."""

    def __init__(
        self, run: RunView, context: ViewContext, others: Callable[[], Sequence[RunView]]
    ) -> None:
        super().__init__(run, context, _NAMES, others)

    def grow(self, request: Request, event: ReadingGrew) -> None:
        """Keep the part, and note how many parts have been taken out."""
        super().grow(request, event)
        if isinstance(event.part, PartsPart):
            self.progress = f"{event.part.done} of {event.part.orders} taken out"
