"""Text inputs whose keys act in the order in which they were typed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from textual import events
from textual.widgets import Input

if TYPE_CHECKING:
    from textual.widget import Widget

    _Widget = Widget
else:
    _Widget = object


class KeysInOrder(_Widget):
    """Comes before the text input among a class's bases.

    Textual inserts a letter as soon as the input gets it, but looks for the binding of any other
    key only after that key has passed through the queue of every widget above the input. In a burst
    of typing (a slow line, a paste without brackets) the letters typed after ctrl+u or backspace
    are then there before it acts, and are deleted. Here bindings are looked for at once.
    """

    TYPES_ITSELF: frozenset[str] = frozenset()
    """Keys that type something although they are not printable."""

    instead: str = ""
    """The id of an action of the app that keys of `TYPES_ITSELF` perform instead of typing."""

    async def _on_key(self, event: events.Key) -> None:
        if self.instead and event.key in self.TYPES_ITSELF:
            event.stop()
            event.prevent_default()
            await self.app.run_action(f"do({self.instead!r})")
            return
        if event.is_printable or event.key in self.TYPES_ITSELF:
            return
        app: Any = self.app
        if await app._check_bindings(event.key):
            event.stop()
            event.prevent_default()


class LineEntry(KeysInOrder, Input):
    """A line of text."""
