"""Actions that walk over the positions of the prompt."""

from __future__ import annotations

from collections.abc import Callable

from tui.app import Explorer


def step(app: Explorer, step: int) -> None:
    """Go to a later or earlier token of the prompt."""
    _walk(app, lambda: app.walking.step(step), f"the {'last' if step > 0 else 'first'} token")


def part(app: Explorer, step: int) -> None:
    """Go to the next or the previous part of the prompt."""
    _walk(app, lambda: app.walking.part(step), f"the {'last' if step > 0 else 'first'} part")


def own(app: Explorer) -> None:
    """Go back to the position that was read."""
    _walk(app, lambda: app.walking.go(None), "the position that was read")


def unfold(app: Explorer) -> None:
    """Show every patch of the picture by itself, or the picture as one."""
    app.walking.unfold()


def _walk(app: Explorer, go: Callable[[], object], where: str) -> None:
    """Walk, and say where that leads nowhere."""
    run = app.state.current
    if run is None:
        app.say(f"no prompt to walk over: {app.keymap.first('run') or 'the palette'} runs one")
        return
    before = run.place(app.state.place)
    go()
    if run.place(app.state.place) == before:
        app.say(f"this is {where}")
