"""The single path of every event: first to the state, then to every subscriber."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol, TypeVar, runtime_checkable

from engine.events import Event
from tui.state.view_state import ViewState

E = TypeVar("E")


@runtime_checkable
class Listener(Protocol):
    """A view that receives events after the state has applied them."""

    def hear(self, events: Sequence[Event]) -> None: ...


class Dispatch:
    """Delivers events.

    Parts of the app register for the kinds of event that they handle. Open views need not register,
    even under a dialog: each one with a `hear` method receives the events.
    """

    def __init__(self, state: ViewState, views: Callable[[], Iterable[object]]) -> None:
        """`views` returns all open views, including those under a dialog."""
        self._state = state
        self._views = views
        self._takers: list[tuple[type[Any], Callable[[Any], None]]] = []

    def on(self, kind: type[E], take: Callable[[E], None]) -> Callable[[], None]:
        """Call `take` with every event of a kind; return a function that ends this."""
        entry = (kind, take)
        self._takers.append(entry)

        def end() -> None:
            if entry in self._takers:
                self._takers.remove(entry)

        return end

    def tell(self, events: Sequence[Event]) -> None:
        """Deliver these events in order."""
        for event in events:
            self._state.apply(event)
            for kind, take in tuple(self._takers):
                if isinstance(event, kind):
                    take(event)
        for view in self._views():
            if isinstance(view, Listener):
                view.hear(events)
