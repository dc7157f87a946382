"""What a screen asks the worker for about one run where it may need counterfactuals of that run
first. Without Textual."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from engine.counterfactuals.grammar import parse_against, written
from engine.errors import BadInput
from engine.events import Event, ReadingMade, RunEnded, Trouble
from engine.methods.registry import method_for
from engine.records import Counterfactual, Request
from tui.state.run_view import Phase, RunView
from tui.text.show import plain_line
from tui.widgets.asking import Asking
from tui.widgets.view_context import ViewContext


class AskingAgainst(Asking):
    """Requests readings of one run, and before each the counterfactuals that it needs."""

    def __init__(
        self,
        run: RunView,
        context: ViewContext,
        names: Mapping[type[Request], str],
        others: Callable[[], Sequence[RunView]],
    ) -> None:
        """See `Asking`; `others` returns the runs of the same question with something else instead
        of the picture."""
        super().__init__(run, context, names)
        self._others = others
        self._waits: Request | None = None
        """What is asked for once the counterfactuals are there."""
        self._expected = 0

    def ask(self, request: Request) -> bool:
        """See `Asking.ask`; where counterfactuals are needed, they are asked for first."""
        try:
            missing = self._missing(request)
        except BadInput as error:
            self.fail(request, plain_line(str(error), ascii_only=self._shared.ascii_only))
            return False
        if not missing:
            return super().ask(request)
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

    def waits_for(self, kind: type[Request]) -> bool:
        """See `Asking.waits_for`; a request that waits for counterfactuals has not been answered
        either."""
        return isinstance(self._waits, kind) or super().waits_for(kind)

    def is_open(self, request: Request) -> bool:
        """See `Asking.is_open`; likewise."""
        waits = self._waits
        return (waits is not None and self.same(request, waits)) or super().is_open(request)

    def hear(self, events: Sequence[Event]) -> list[ReadingMade]:
        """See `Asking.hear`; once the counterfactuals have ended, what waits for them is asked."""
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

    def _cancel(self, is_meant: Callable[[Request], bool]) -> None:
        if self._waits is not None and is_meant(self._waits):
            self._waits = None
            self._asker.cancel()
        super()._cancel(is_meant)

    def _go_on(self, error: str | None) -> None:
        request, self._waits = self._waits, None
        assert request is not None
        if self._missing(request):
            words = f"the counterfactual has no rows: {error or 'it was cancelled'}"
            self.fail(request, plain_line(words, ascii_only=self._shared.ascii_only))
        else:
            super().ask(request)

    def _missing(self, request: Request) -> tuple[Counterfactual, ...]:
        """Return the counterfactuals that the request needs and that have not been asked; nor has
        one with another seed than the present one, and of several the newest counts, as a request
        names no seed. Raises BadInput for a name that is no counterfactual."""
        names = method_for(request).needs(request)
        wanted = parse_against(names, self._shared.seed()) if names else ()
        newest = {}
        for view in self._others():
            made = view.run.question.counterfactual
            if view.phase is Phase.DONE and made is not None:
                newest[written(made)] = made.seed
        return tuple(each for each in wanted if newest.get(written(each), -1) != each.seed)
