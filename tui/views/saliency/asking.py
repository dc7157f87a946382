"""What the screen of saliency asks the worker for, and what has come of it. Without Textual."""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from engine.events import ReadingGrew
from engine.methods.geometry import GeometryRequest
from engine.methods.saliency import SaliencyPart, SaliencyRequest
from engine.records import Request
from tui.state.run_view import RunView
from tui.widgets.asking import Asking
from tui.widgets.view_context import ViewContext

_NAMES: Final[dict[type[Request], str]] = {
    GeometryRequest: "which part of the picture a patch shows",
    SaliencyRequest: "this saliency",
}
_STOPPED: Final = "stopped: r reads it"


class AskingSaliency(Asking):
    """Requests patches and saliency of one run."""

    def __init__(self, run: RunView, context: ViewContext) -> None:
        super().__init__(run, context, _NAMES)
        self._parts: list[tuple[SaliencyRequest, SaliencyPart]] = []

    @property
    def is_reading(self) -> bool:
        """Whether saliency is being read."""
        return self.waits_for(SaliencyRequest)

    def read(self, request: SaliencyRequest) -> None:
        """Request this in place of what is on its way, also if it was stopped or lost before."""
        if request not in self._open.values():
            self.stop(SaliencyRequest)
            self.forget_trouble(SaliencyRequest)
            self.ask(request)

    def interrupt(self) -> bool:
        """Cancel what is being read, and do not read it unasked again; return whether there was
        any."""
        stopped = [each for each in self._open.values() if isinstance(each, SaliencyRequest)]
        self.stop(SaliencyRequest)
        for request in stopped:
            self.lose(request, _STOPPED)
        return bool(stopped)

    def same(self, one: Request, other: Request) -> bool:
        """Return whether two requests get the same map: it does not depend on whether it is also
        compared."""
        if isinstance(one, SaliencyRequest) and isinstance(other, SaliencyRequest):
            return replace(one, compare=False) == replace(other, compare=False)
        return one == other

    def grow(self, request: Request, event: ReadingGrew) -> None:
        """Keep the part, and note how far the reading has come."""
        part = event.part
        if isinstance(request, SaliencyRequest) and isinstance(part, SaliencyPart):
            self._parts.append((request, part))
            self.progress = f"{part.done} of {part.orders} passes"

    def take_parts(self) -> list[tuple[SaliencyRequest, SaliencyPart]]:
        """Return the parts that have arrived since."""
        taken, self._parts = self._parts, []
        return taken
