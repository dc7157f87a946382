"""What the actions share that open a screen about the shown run."""

from __future__ import annotations

from collections.abc import Callable

from tui.actions.runs import show_run
from tui.app import Explorer
from tui.state.run_view import Phase, RunView
from tui.state.view_state import NOT_ENDED


def run_to_look_at(
    app: Explorer, what: str, refused: str, unfit: Callable[[RunView], str] = lambda run: ""
) -> RunView | None:
    """The shown run, if it has ended well; otherwise say why not, and return None.

    `what` is what could be read of a run ("attention"), `refused` what becomes of it if the run's
    proof failed, and `unfit(run)` says why a run does not have it; empty if it does.
    """
    run = app.state.current
    if run is None and app.state.asked:
        app.say("the first run is on its way")
    elif run is None:
        app.say(f"no run yet whose {what} could be read: r runs the question")
    elif unfit(run):
        app.say(unfit(run))
    elif run.phase is Phase.RUNNING:
        app.say(NOT_ENDED.text)
    elif run.refused:
        app.say(f"the proof of this run failed: its {what} is not {refused}", "error")
    else:
        return run
    return None


def show_again(app: Explorer, run: RunView) -> None:
    """Show a run, in place of counterfactuals of it that a screen has asked for meanwhile."""
    before = app.state.current
    if before is not run.own:
        app.state.show(run.own)
        show_run(app, before)
    app.presenter.show_all()
