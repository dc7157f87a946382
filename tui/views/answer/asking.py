"""What the screen of an answer asks the worker for, and what has come of it. Without Textual."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from engine.events import ReadingGrew
from engine.methods.answer import AnswerPart, AnswerRequest
from engine.records import Request
from tui.state.run_view import RunView
from tui.widgets.asking_against import AskingAgainst
from tui.widgets.view_context import ViewContext

_NAMES: Final[dict[type[Request], str]] = {AnswerRequest: "the answer"}


class AskingAnswer(AskingAgainst):
    """Requests the answer of one run, and first the counterfactuals that it is compared with."""

    def __init__(
        self, run: RunView, context: ViewContext, others: Callable[[], Sequence[RunView]]
    ) -> None:
        """See `AskingAgainst`."""
        super().__init__(run, context, _NAMES, others)
        self.parts: list[AnswerPart] = []
        """Parts that have arrived and have not been taken."""

    @property
    def is_under_way(self) -> bool:
        """Whether an answer, or what it needs, is on its way."""
        return self.waits_for(AnswerRequest)

    def decode(self, request: AnswerRequest) -> bool:
        """Request an answer in place of any that is on its way; return whether it is on its way, or
        else set `trouble`."""
        self.stop()
        self.forget_trouble()
        self.parts = []
        return self.ask(request)

    def grow(self, request: Request, event: ReadingGrew) -> None:
        """Keep the part, and note how far the answer has come."""
        part = event.part
        if isinstance(part, AnswerPart):
            self.parts.append(part)
            done = part.first + part.tokens.shape[0]
            self.progress = f"{done} of at most {part.of} tokens"
            if part.ended:
                self.progress = f"all {done} tokens"
            if part.drawn and isinstance(request, AnswerRequest):
                # The first answer, with the rows, is one of those that were asked for.
                self.progress = f"{part.drawn + 1:,} of {request.draws:,} answers drawn"

    def take_parts(self) -> list[AnswerPart]:
        """Return the parts that have arrived since."""
        taken, self.parts = self.parts, []
        return taken
