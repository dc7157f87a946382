"""Actions that open the picture under a map of words."""

from __future__ import annotations

from tui.app import Explorer
from tui.state.run_view import Phase
from tui.state.view_state import NOT_ENDED


def show(app: Explorer) -> None:
    """Show where in the picture words are readable."""
    _open(app, typing=False)


def where(app: Explorer) -> None:
    """Ask for a word, and show where in the picture it is readable."""
    _open(app, typing=True)


def _open(app: Explorer, *, typing: bool) -> None:
    run = app.state.current
    if run is None and app.state.asked:
        app.say("the first run is on its way")
        return
    if run is None:
        app.say("no run yet whose picture could be read: r runs the question")
        return
    if not run.has_picture or not any(token.kind == "image" for token in run.run.tokens):
        app.say("no token of this run's prompt holds a picture: there is nothing to map")
        return
    if run.phase is Phase.RUNNING:
        app.say(NOT_ENDED.text)
        return
    if run.refused:
        app.say("the proof of this run failed: its picture is not mapped", "error")
        return
    from tui.views.words.screen import WordsScreen

    app.push_screen(
        WordsScreen(
            run,
            app.main.table.cursor,
            app.context,
            colours=app.picture_colours,
            position=app.state.place,
            typing=typing,
        )
    )
