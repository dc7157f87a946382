"""Actions on the answer of the shown run."""

from __future__ import annotations

from tui.actions.looking import run_to_look_at, show_again
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
        lambda _: show_again(app, run),
    )


def _unanswered(run: RunView) -> str:
    return "" if run.answer is not None or run.refused else "no answer to continue yet"
