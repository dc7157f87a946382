"""What the screen of an answer asks the worker for, and what has come of it. Without Textual."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from engine.counterfactuals.grammar import parse_against, written
from engine.errors import BadInput
from engine.events import Event, ReadingGrew, ReadingMade, RunEnded, Trouble
from engine.methods.answer import AnswerPart, AnswerRequest
from engine.methods.registry import method_for
from engine.records import Counterfactual, Request
from tui.state.run_view import Phase, RunView
from tui.text.show import plain_line
from tui.widgets.asking import Asking
from tui.widgets.view_context import ViewContext

_NAMES: Final[dict[type[Request], str]] = {AnswerRequest: "the answer"}


class AskingAnswer(Asking):
    """Requests the answer of one run, and first the counterfactuals that it is compared with."""

    def __init__(
        self, run: RunView, context: ViewContext, others: Callable[[], Sequence[RunView]]
    ) -> None:
        """`others` returns the runs of the same question with something else instead of the
        picture."""
        super().__init__(run, context, _NAMES)
        self._others = others
        self._seed = context.startup.seed
        self._waits: AnswerRequest | None = None
        """What is asked for once the counterfactuals are there."""
        self._expected = 0
        self.parts: list[AnswerPart] = []
        """Parts that have arrived and have not been taken."""

    @property
    def is_under_way(self) -> bool:
        """Whether an answer, or what it needs, is on its way."""
        return self._waits is not None or self.waits_for(AnswerRequest)

    def decode(self, request: AnswerRequest) -> bool:
        """Request an answer in place of any that is on its way; return whether it is on its way, or
        else set `trouble`."""
        self.stop()
        self.forget_trouble()
        self.parts = []
        try:
            missing = self._missing(request)
        except BadInput as error:
            self.fail(request, plain_line(str(error), ascii_only=self._shared.ascii_only))
            return False
        if not missing:
            return self.ask(request)
        if not self._run.has_picture:
            self.fail(request, "this run has no picture to replace")
            return False
        if not self._asker.ask_against(self._run, missing):
            why = self._asker.why_not(self._run) or "the model is busy"
            self.fail(request, f"the counterfactual was not asked: {why}")
            return False
        self._waits, self._expected = request, len(missing)
        self.progress = "asking without the picture first"
        return True

    def stop(self, *kinds: type[Request]) -> None:
        """Cancel what has not been answered."""
        if self._waits is not None:
            self._waits = None
            self._asker.cancel()
        super().stop(*kinds)
        self.progress = ""

    def hear(self, events: Sequence[Event]) -> list[ReadingMade]:
        """See `Asking.hear`; once the counterfactuals have ended, the answer is asked for."""
        for event in events:
            if self._waits is None:
                break
            if isinstance(event, RunEnded) and event.run.question.counterfactual is not None:
                self._expected -= 1
                if not self._expected:
                    self._go_on(event.run.error)
            elif isinstance(event, Trouble) and event.request_id is None:
                request, self._waits = self._waits, None
                self._asker.is_told(event)
                self.take_trouble(request, event)
        progress = self.progress
        made = super().hear(events)
        if self._waits is not None:
            self.progress = progress
        return made

    def _go_on(self, error: str | None) -> None:
        request, self._waits = self._waits, None
        assert request is not None
        if self._missing(request):
            words = f"the counterfactual has no rows: {error or 'it was cancelled'}"
            self.fail(request, plain_line(words, ascii_only=self._shared.ascii_only))
        else:
            self.ask(request)

    def _missing(self, request: AnswerRequest) -> tuple[Counterfactual, ...]:
        """Return the counterfactuals that the request needs and that have not been asked. Raises
        BadInput for a name that is no counterfactual."""
        names = method_for(request).needs(request)
        wanted = parse_against(names, self._seed) if names else ()
        done = {
            written(view.run.question.counterfactual)
            for view in self._others()
            if view.phase is Phase.DONE and view.run.question.counterfactual is not None
        }
        return tuple(each for each in wanted if written(each) not in done)

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
