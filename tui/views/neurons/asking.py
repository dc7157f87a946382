"""What the screen of neurons asks the worker for, and what has come of it. Without Textual."""

from __future__ import annotations

from typing import Final

from engine.events import ReadingGrew
from engine.methods.neurons import NeuronsPart, NeuronsRequest
from engine.records import Request
from tui.state.run_view import RunView
from tui.widgets.asking_looks import AskingLooks
from tui.widgets.view_context import ViewContext

_NAMES: Final[dict[type[Request], str]] = {NeuronsRequest: "what each unit adds"}


class AskingNeurons(AskingLooks):
    """Requests units of one run."""

    def __init__(self, run: RunView, context: ViewContext) -> None:
        super().__init__(run, context, _NAMES)

    def grow(self, request: Request, event: ReadingGrew) -> None:
        """Keep the part, and note how many units have been set to zero."""
        super().grow(request, event)
        if isinstance(event.part, NeuronsPart):
            self.progress = f"{event.part.done} of {event.part.orders} set to zero"
