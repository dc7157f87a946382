"""The action that opens the screen of tracing."""

from __future__ import annotations

from tui.actions.looking import run_to_look_at, show_again
from tui.app import Explorer
from tui.state.run_view import RunView


def show(app: Explorer) -> None:
    """Show at which row and tokens the answer of the shown run is decided; if it is the run of a
    counterfactual, that of the picture against it."""
    run = run_to_look_at(app, "tracing", "shown", _no_picture)
    if run is None:
        return
    from tui.views.tracing.against import name_of
    from tui.views.tracing.screen import TracingScreen

    picture = app.state.picture_of(run)
    against = "" if picture is run else name_of(run, app.seed)
    app.push_screen(
        TracingScreen(
            picture,
            app.main.table.cursor,
            app.state.place,
            app.context,
            colours=app.picture_colours,
            runs=lambda: app.state.shown,
            others=lambda: app.state.counterfactuals_of(picture),
            against=against,
            unfolded=app.state.unfolded,
        ),
        lambda _: show_again(app, picture),
    )


def _no_picture(run: RunView) -> str:
    return "" if run.has_picture else "this run has no picture that another could stand in for"
