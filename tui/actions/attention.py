"""The action that opens the screen of attention."""

from __future__ import annotations

from tui.actions.looking import run_to_look_at
from tui.app import Explorer


def show(app: Explorer) -> None:
    """Show where the position under the cursor looks."""
    run = run_to_look_at(app, "attention", "shown")
    if run is None:
        return
    from tui.views.attention.screen import AttentionScreen

    app.push_screen(
        AttentionScreen(
            run,
            app.main.table.cursor,
            run.place(app.state.place),
            app.context,
            colours=app.picture_colours,
            unfolded=app.state.unfolded,
        )
    )
