"""Actions that open the picture under a map of words."""

from __future__ import annotations

from tui.actions.looking import run_to_look_at
from tui.app import Explorer
from tui.state.run_view import RunView


def show(app: Explorer) -> None:
    """Show where in the picture words are readable."""
    _open(app, typing=False)


def where(app: Explorer) -> None:
    """Ask for a word, and show where in the picture it is readable."""
    _open(app, typing=True)


def _open(app: Explorer, *, typing: bool) -> None:
    run = run_to_look_at(app, "picture", "mapped", _no_picture)
    if run is None:
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


def _no_picture(run: RunView) -> str:
    if run.has_picture and any(token.kind == "image" for token in run.run.tokens):
        return ""
    return "no token of this run's prompt holds a picture: there is nothing to map"
