"""What a screen asks the worker for about one run, and what has come of it. Without Textual."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from engine.events import Event, ReadingDropped, ReadingGrew, ReadingMade, Trouble
from engine.records import Request
from tui.state.run_view import RunView
from tui.widgets.view_context import ViewContext


class Asking:
    """Requests readings of one run, each once at a time.

    A subclass says how far a reading has come (`grow`), which requests are the same (`same`), and
    what else to do where one could not be answered (`take_trouble`).
    """

    def __init__(
        self, run: RunView, context: ViewContext, names: Mapping[type[Request], str]
    ) -> None:
        """`names` says what is not known where a request cannot be made; where it is plain, a kind
        of request has none."""
        self._run = run
        self._shared = context
        self._names = names
        self._asker = context.asker
        self._open: dict[str, Request] = {}
        self._troubles: dict[type[Request], str] = {}
        """What went wrong with each kind of request; safe for display."""
        self._lost: dict[Request, str] = {}
        """Why each of these requests was not answered; `look` does not make them again, since each
        would be a pass that ends the same way."""
        self.progress = ""
        """How far what is being read has come."""

    @property
    def trouble(self) -> str:
        """What went wrong last; safe for display."""
        return next(reversed(self._troubles.values()), "")

    def trouble_of(self, kind: type[Request]) -> str:
        """Return what went wrong with a kind of request; safe for display."""
        return self._troubles.get(kind, "")

    def forget_trouble(self, *kinds: type[Request]) -> None:
        """Forget what went wrong with requests of these kinds; of all kinds without any."""
        for kind in kinds or tuple(self._troubles):
            self._troubles.pop(kind, None)

    def ask(self, request: Request) -> bool:
        """Request a reading; return whether it is on its way, or else set `trouble`."""
        if self.is_open(request):
            return True
        self._lost.pop(request, None)
        made = self._asker.read(self._run, request)
        if made is None:
            reason = self._asker.why_not(self._run, request) or "the model is busy"
            name = self._names.get(type(request))
            self.fail(request, f"{name} is not known: {reason}" if name else f"not read: {reason}")
            return False
        self._open[made] = request
        self.progress = "reading"
        return True

    def look(self, request: Request) -> None:
        """Request a reading, in place of what was asked for of its kind before and has not been
        answered; say again what went wrong with a request that was lost."""
        if self.is_open(request):
            return
        self.stop(type(request))
        self.forget_trouble(type(request))
        if request in self._lost:
            self.fail(request, self._lost[request])
        else:
            self.ask(request)

    def forget_lost(self) -> list[Request]:
        """Forget what was lost and what went wrong, so that it may be asked for again; return the
        requests that were lost."""
        lost, self._lost = [*self._lost], {}
        self.forget_trouble()
        return lost

    def waits_for(self, kind: type[Request]) -> bool:
        """Return whether a request of a kind has not been answered."""
        return any(isinstance(request, kind) for request in self._open.values())

    def is_open(self, request: Request) -> bool:
        """Return whether this very request has not been answered."""
        return any(self.same(request, known) for known in self._open.values())

    def stop(self, *kinds: type[Request]) -> None:
        """Cancel what has not been answered: requests of these kinds, of all kinds without any."""
        self._cancel(lambda request: not kinds or isinstance(request, kinds))

    def stop_one(self, request: Request) -> None:
        """Cancel this very request, if it has not been answered."""
        self._cancel(lambda known: self.same(request, known))

    def ask_or_stop(self, request: Request) -> bool:
        """Request a reading, whatever went wrong with such requests before; or, if this very one
        has not been answered, cancel it. Return whether it was cancelled."""
        if self.is_open(request):
            self.stop_one(request)
            return True
        self.forget_trouble(type(request))
        self.ask(request)
        return False

    def _cancel(self, is_meant: Callable[[Request], bool]) -> None:
        for request_id, request in [*self._open.items()]:
            if is_meant(request):
                self._asker.cancel_reading(request_id)
                del self._open[request_id]
        if not self._open:
            self.progress = ""

    def hear(self, events: Sequence[Event]) -> list[ReadingMade]:
        """Note how far requests have come; return the readings of this run that were made."""
        mine = self._run.run.id
        made = []
        for event in events:
            match event:
                case ReadingGrew() if event.request_id in self._open:
                    self.grow(self._open[event.request_id], event)
                case ReadingMade() if event.run_id == mine:
                    self._open.pop(event.request_id, None)
                    made.append(event)
                case ReadingDropped() if event.request_id in self._open:
                    request = self._open.pop(event.request_id)
                    self.lose(request, "the reading was interrupted: r reads on")
                case Trouble() if event.request_id in self._open:
                    request = self._open.pop(event.request_id)
                    self._asker.is_told(event)
                    self.take_trouble(request, event)
        if not self._open:
            self.progress = ""
        return made

    def fail(self, request: Request, why: str) -> None:
        """Note why a request has not been answered."""
        self._troubles.pop(type(request), None)  # the newest one comes last
        self._troubles[type(request)] = why

    def lose(self, request: Request, why: str) -> None:
        """Note why a request that was on its way has not been answered; it is not to be made again
        unasked."""
        self._lost[request] = why
        self.fail(request, why)

    def same(self, one: Request, other: Request) -> bool:
        """Return whether two requests get the same reading."""
        return one == other

    def grow(self, request: Request, event: ReadingGrew) -> None:
        """Note how far a reading has come."""

    def take_trouble(self, request: Request, event: Trouble) -> None:
        """Note what went wrong."""
        self.lose(request, self._shared.said(event))
