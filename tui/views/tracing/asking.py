"""What the screen of tracing asks the worker for, and what has come of it. Without Textual."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from engine.events import ReadingGrew
from engine.methods.geometry import GeometryRequest
from engine.methods.tracing import TracingPart, TracingRequest
from engine.records import Request
from tui.state.run_view import RunView
from tui.widgets.asking_against import AskingAgainst
from tui.widgets.view_context import ViewContext

_NAMES: Final[dict[type[Request], str]] = {
    GeometryRequest: "which part of the picture a patch shows",
    TracingRequest: "what patching brings back",
}


class AskingTracing(AskingAgainst):
    """Requests patches and tracing of one run, and first the counterfactual that it is traced
    against."""

    def __init__(
        self, run: RunView, context: ViewContext, others: Callable[[], Sequence[RunView]]
    ) -> None:
        """See `AskingAgainst`."""
        super().__init__(run, context, _NAMES, others)
        self._parts: list[tuple[TracingRequest, TracingPart]] = []
        self._asked: set[TracingRequest] = set()

    @property
    def is_tracing(self) -> bool:
        """Whether a tracing, or what it needs, is on its way."""
        return self.waits_for(TracingRequest)

    def trace(self, request: TracingRequest) -> None:
        """Request a tracing, but not one that has been asked for already: it would end the same
        way."""
        if request not in self._asked:
            self._asked.add(request)
            self.ask(request)

    def drop(self) -> None:
        """Cancel the tracing that is on its way; all may be asked for again."""
        self.stop(TracingRequest)
        self.forget_trouble(TracingRequest)
        self._asked.clear()
        self._parts = []

    def grow(self, request: Request, event: ReadingGrew) -> None:
        """Keep the part, and note how far the tracing has come."""
        part = event.part
        if isinstance(request, TracingRequest) and isinstance(part, TracingPart):
            self._parts.append((request, part))
            self.progress = f"{part.done} of {part.orders} passes"

    def take_parts(self) -> list[tuple[TracingRequest, TracingPart]]:
        """Return the parts that have arrived since."""
        taken, self._parts = self._parts, []
        return taken
