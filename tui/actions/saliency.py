"""The action that opens the screen of saliency."""

from __future__ import annotations

from tui.actions.looking import run_to_look_at
from tui.app import Explorer


def show(app: Explorer) -> None:
    """Show to what in the picture the answer of the shown run is sensitive."""
    run = run_to_look_at(app, "saliency", "shown")
    if run is None:
        return
    from tui.views.saliency.screen import SaliencyScreen

    app.push_screen(
        SaliencyScreen(
            run,
            app.main.table.cursor,
            app.state.place,
            app.context,
            colours=app.picture_colours,
            unfolded=app.state.unfolded,
        )
    )
