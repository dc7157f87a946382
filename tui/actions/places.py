"""Actions that walk over the positions of the prompt."""

from __future__ import annotations

from tui.app import Explorer


def step(app: Explorer, step: int) -> None:
    """Go to a later or earlier token of the prompt."""
    app.walking.step(step)


def part(app: Explorer, step: int) -> None:
    """Go to the next or the previous part of the prompt."""
    app.walking.part(step)


def own(app: Explorer) -> None:
    """Go back to the position that was read."""
    app.walking.go(None)


def unfold(app: Explorer) -> None:
    """Show every patch of the picture by itself, or the picture as one."""
    app.walking.unfold()
