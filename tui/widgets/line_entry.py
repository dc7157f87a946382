"""Text inputs whose keys act in the order in which they were typed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from textual import events
from textual.widgets import Input

from tui.text.show import stand_in_text

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


class HeldEntry(LineEntry):
    """A line that may hold what must not be shown, such as line breaks or what was pasted: its
    `value` has stand-ins in their place."""

    held = ""
    """What was given, with what the user has changed of it."""

    def validate_value(self, value: str) -> str:
        """Take a change of what is shown over into what is held; return what is shown of that."""
        self.held = with_change(self.held, value)
        return stand_in_text(self.held)


def with_change(held: str, value: str) -> str:
    """Return a held text with what differs between its stand-in text and `value`, a change of that
    in one place."""
    shown = stand_in_text(held)
    first = _alike(shown, value)
    last = _alike(shown[first:][::-1], value[first:][::-1])
    return held[:first] + value[first : len(value) - last] + held[len(held) - last :]


def _alike(one: str, other: str) -> int:
    """Return how many characters two texts have in common from their beginning on."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((at for at, (a, b) in pairs if a != b), min(len(one), len(other)))
