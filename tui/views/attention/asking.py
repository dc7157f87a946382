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
