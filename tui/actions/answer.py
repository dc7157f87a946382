"""Actions on the answer of the shown run."""

from __future__ import annotations

from tui.actions.looking import run_to_look_at
from tui.actions.runs import show_run
from tui.app import Explorer
from tui.state.run_view import RunView


def show(app: Explorer) -> None:
    """Show the newest answer; decode one only if there is none."""
    _open(app, decodes=False)


def proceed(app: Explorer) -> None:
    """Decode the answer with the settings as they are now, unless there is one with them."""
    _open(app, decodes=True)


def _open(app: Explorer, *, decodes: bool) -> None:
    run = run_to_look_at(app, "answer", "continued", _unanswered)
    if run is None:
        return
    from tui.views.answer.screen import AnswerScreen

    app.push_screen(
        AnswerScreen(
            run,
            app.state.decoding,
            app.context,
            others=lambda: app.state.counterfactuals_of(run),
            remember=app.state.decode_with,
            decodes=decodes,
        ),
        lambda _: _show_again(app, run),
    )


def _unanswered(run: RunView) -> str:
    return "" if run.answer is not None or run.refused else "no answer to continue yet"


def _show_again(app: Explorer, run: RunView) -> None:
    """Show the run, in place of counterfactuals that were asked for meanwhile, with its answer."""
    before = app.state.current
    if before is not run.own:
        app.state.show(run.own)
        show_run(app, before)
    app.presenter.show_all()
