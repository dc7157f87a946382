"""What a screen asks the worker for where the cursor decides what is read. Without Textual."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from engine.events import ReadingGrew
from engine.records import Request
from tui.state.run_view import RunView
from tui.widgets.asking_against import AskingAgainst
from tui.widgets.view_context import ViewContext


class AskingLooks(AskingAgainst):
    """Requests what is shown, in place of what was shown before; and what the user asks for.

    A request that was lost is not made again unasked, since it would be a pass that ends the same
    way.
    """

    def __init__(
        self,
        run: RunView,
        context: ViewContext,
        names: Mapping[type[Request], str],
        others: Callable[[], Sequence[RunView]] = lambda: (),
    ) -> None:
        """See `AskingAgainst`; without `others` no request may need counterfactuals."""
        super().__init__(run, context, names, others)
        self.parts: list[tuple[Request, ReadingGrew]] = []
        """Parts that have arrived and have not been taken."""
        self._shown: Request | None = None
        """The last request for what is shown."""

    def look(self, request: Request) -> None:
        """Request what is shown, in place of what was to be shown before and has not been answered;
        say again what went wrong with a request that was lost."""
        if self.is_open(request):
            return
        if self._shown is not None:
            self.stop_one(self._shown)
        self._shown = request
        self.forget_trouble(type(request))
        if request in self._lost:
            self.fail(request, self._lost[request])
        else:
            self.ask(request)

    def grow(self, request: Request, event: ReadingGrew) -> None:
        """Keep the part."""
        self.parts.append((request, event))

    def take_parts(self) -> list[tuple[Request, ReadingGrew]]:
        """Return the parts that have arrived since."""
        taken, self.parts = self.parts, []
        return taken
