"""The action that opens the screen of neurons."""

from __future__ import annotations

from tui.actions.looking import run_to_look_at
from tui.app import Explorer


def show(app: Explorer) -> None:
    """Show which neurons wrote the logits of the position under the cursor."""
    run = run_to_look_at(app, "neurons", "shown")
    if run is None:
        return
    from tui.views.neurons.screen import NeuronsScreen

    app.push_screen(
        NeuronsScreen(
            run,
            app.main.table.cursor,
            run.place(app.state.place),
            app.context,
            unfolded=app.state.unfolded,
        )
    )
