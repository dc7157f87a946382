"""Asks for the rows at positions that have not been read, and says why there are none."""

from __future__ import annotations

from engine.events import ReadingDropped, ReadingMade, Trouble
from engine.methods.visit import VisitRequest
from tui.state.dispatch import Dispatch
from tui.state.run_view import RunView
from tui.widgets.view_context import ViewContext

_Key = tuple[str, int]


class Visits:
    """Reads each position once; what has been read is in the run."""

    def __init__(self, context: ViewContext) -> None:
        self._context = context
        self._asker = context.asker
        self._asked: dict[str, _Key] = {}
        """Id of a request that has not been answered -> run and position."""
        self._refused: dict[_Key, str] = {}

    def connect(self, dispatch: Dispatch) -> None:
        """Register for the events that end requests."""
        dispatch.on(ReadingMade, lambda event: self._ended(event.request_id))
        dispatch.on(ReadingDropped, lambda event: self._ended(event.request_id))
        dispatch.on(Trouble, self._trouble)

    def is_asked(self, run: RunView, position: int) -> bool:
        """Return whether the rows at a position are on their way."""
        return (run.own.run.id, position) in self._asked.values()

    def try_again(self, run: RunView, position: int) -> None:
        """Forget that a position could not be read: the user has gone there once more."""
        self._refused.pop((run.own.run.id, position), None)

    def want(self, run: RunView, position: int) -> str:
        """Ask for the rows at a position if that is possible and has not been done; return what is
        to be shown instead of them."""
        key = (run.own.run.id, position)
        if key in self._refused:
            return f"it cannot be read: {self._refused[key]}"
        request = VisitRequest(positions=(position,))
        reason = self._asker.why_not(run.own, request)
        if reason:
            return reason
        if key not in self._asked.values() and not self._asker.is_busy:
            made = self._asker.read(run.own, request)
            if made is not None:
                self._asked[made] = key
        return f"reading position {position}"

    def _ended(self, request_id: str) -> None:
        self._asked.pop(request_id, None)

    def _trouble(self, event: Trouble) -> None:
        key = self._asked.pop(event.request_id or "", None)
        if key is not None:
            self._refused[key] = self._context.said(event)
