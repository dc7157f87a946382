"""Actions that walk over the positions of the prompt."""

from __future__ import annotations

from collections.abc import Callable

from tui.app import Explorer
from tui.state.pair_places import Pair
from tui.widgets.two_runs import TwoRuns


def step(app: Explorer, step: int) -> None:
    """Go to a later or earlier token of the prompt, or of both prompts that are compared."""
    pair, where = app.two_runs, f"the {'last' if step > 0 else 'first'} token"
    if pair is not None:
        shared = pair.places(unfolded=app.state.unfolded)
        _go_both(app, pair, shared.step(pair.place[0], step), where)
    else:
        _walk(app, lambda: app.walking.step(step), where)


def part(app: Explorer, step: int) -> None:
    """Go to the next or the previous part of the prompt, or of both."""
    pair, where = app.two_runs, f"the {'last' if step > 0 else 'first'} part"
    if pair is not None:
        shared = pair.places(unfolded=app.state.unfolded)
        _go_both(app, pair, shared.part(pair.place[0], step), where)
    else:
        _walk(app, lambda: app.walking.part(step), where)


def own(app: Explorer) -> None:
    """Go back to the position that was read."""
    pair = app.two_runs
    if pair is not None:
        pair.go(None)
    else:
        _walk(app, lambda: app.walking.go(None), "the position that was read")


def unfold(app: Explorer) -> None:
    """Show every patch of the picture by itself, or the picture as one."""
    app.walking.unfold()
    if app.two_runs is not None:
        words = "one by one" if app.state.unfolded else "as one"
        app.say(f"the picture's patches are walked {words}")


def _go_both(app: Explorer, pair: TwoRuns, place: Pair | None, where: str) -> None:
    if place is None:
        app.say(f"this is {where} that both prompts share")
    else:
        for run, position in zip(pair.sides, place, strict=True):
            app.visits.try_again(run, position)
        pair.go(place)


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
