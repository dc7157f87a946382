"""The action that opens the screen of parts."""

from __future__ import annotations

from tui.actions.looking import run_to_look_at, show_again
from tui.app import Explorer


def show(app: Explorer) -> None:
    """Show which parts of the model wrote the logits of the position under the cursor."""
    run = run_to_look_at(app, "parts", "shown")
    if run is None:
        return
    from tui.views.parts.screen import PartsScreen

    app.push_screen(
        PartsScreen(
            run,
            app.main.table.cursor,
            run.place(app.state.place),
            app.context,
            colours=app.picture_colours,
            others=lambda: app.state.counterfactuals_of(run),
            unfolded=app.state.unfolded,
        ),
        lambda _: show_again(app, run),
    )
