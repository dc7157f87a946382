"""The action that opens the screen of attention."""

from __future__ import annotations

from tui.app import Explorer
from tui.state.run_view import Phase
from tui.state.view_state import NOT_ENDED


def show(app: Explorer) -> None:
    """Show where the position under the cursor looks."""
    run = app.state.current
    if run is None and app.state.asked:
        app.say("the first run is on its way")
        return
    if run is None:
        app.say("no run yet whose attention could be read: r runs the question")
        return
    if run.phase is Phase.RUNNING:
        app.say(NOT_ENDED.text)
        return
    if run.refused:
        app.say("the proof of this run failed: its attention is not shown", "error")
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
