"""What the screen of attention asks the worker for, and what has come of it. Without Textual."""

from __future__ import annotations

from typing import Final

from engine.events import ReadingGrew
from engine.methods.attention import AttentionPart, AttentionRequest
from engine.methods.geometry import GeometryRequest
from engine.methods.knockout import KnockoutPart, KnockoutRequest
from engine.records import Request
from tui.state.run_view import RunView
from tui.widgets.asking import Asking
from tui.widgets.view_context import ViewContext

_NAMES: Final[dict[type[Request], str]] = {
    AttentionRequest: "more attention",
    GeometryRequest: "which part of the picture a patch shows",
    KnockoutRequest: "what the answer becomes without",
}


class AskingAttention(Asking):
    """Requests patches, attention and knockout of one run."""

    def __init__(self, run: RunView, context: ViewContext) -> None:
        super().__init__(run, context, _NAMES)
        self.parts: list[tuple[Request, ReadingGrew]] = []
        """Parts that have arrived and have not been taken."""
        self._lost: dict[Request, str] = {}
        """Why each of these requests was not answered; they are not made again unasked, since each
        would be a pass that ends the same way."""

    def look(self, request: AttentionRequest) -> None:
        """Request attention, in place of what was asked for before and has not been answered; say
        again what went wrong with a request that was lost."""
        if self.is_open(request):
            return
        self.stop(AttentionRequest)
        self.forget_trouble(AttentionRequest)
        if request in self._lost:
            self.fail(request, self._lost[request])
        else:
            self.ask(request)

    def ask(self, request: Request) -> bool:
        """Request a reading, as if it had not been lost before."""
        self._lost.pop(request, None)
        return super().ask(request)

    def lose(self, request: Request, why: str) -> None:
        """Remember that it is not to be made again unasked."""
        self._lost[request] = why
        super().lose(request, why)

    def forget_lost(self) -> list[Request]:
        """Forget what was lost and what went wrong, so that it may be asked for again; return the
        requests that were lost."""
        lost, self._lost = [*self._lost], {}
        self.forget_trouble()
        return lost

    def grow(self, request: Request, event: ReadingGrew) -> None:
        """Keep the part, and note how far the reading has come."""
        self.parts.append((request, event))
        part = event.part
        if isinstance(part, KnockoutPart):
            self.progress = f"{part.done} of {part.of} passes"
        elif isinstance(part, AttentionPart) and part.layers:
            self.progress = f"{part.layers[-1].layer + 1} of {part.of} layers read"

    def take_parts(self) -> list[tuple[Request, ReadingGrew]]:
        """Return the parts that have arrived since."""
        taken, self.parts = self.parts, []
        return taken
