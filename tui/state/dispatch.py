"""One way for every event: to the state first, then to whoever wants it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol, TypeVar, runtime_checkable

from engine.events import Event
from tui.state.view_state import ViewState

E = TypeVar("E")


@runtime_checkable
class Hears(Protocol):
    """A view that wants to know what has come in, once the state has it."""

    def hear(self, events: Sequence[Event]) -> None: ...


class Dispatch:
    """Hands events on.

    Parts of the app say which kinds of event they take. A view on the screen, or under a dialog,
    needs to say nothing: if it can hear, it hears.
    """

    def __init__(self, state: ViewState, views: Callable[[], Iterable[object]]) -> None:
        """`views` returns what is open now, whatever lies over it."""
        self._state = state
        self._views = views
        self._takers: list[tuple[type[Any], Callable[[Any], None]]] = []

    def on(self, kind: type[E], take: Callable[[E], None]) -> Callable[[], None]:
        """Let `take` have every event of a kind; return what ends this."""
        entry = (kind, take)
        self._takers.append(entry)

        def end() -> None:
            if entry in self._takers:
                self._takers.remove(entry)

        return end

    def tell(self, events: Sequence[Event]) -> None:
        """Hand these events on, in their order."""
        for event in events:
            self._state.apply(event)
            for kind, take in tuple(self._takers):
                if isinstance(event, kind):
                    take(event)
        for view in self._views():
            if isinstance(view, Hears):
                view.hear(events)
