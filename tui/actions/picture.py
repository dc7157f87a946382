"""Actions on the picture: hide it, enlarge it, show what the model sees."""

from __future__ import annotations

from engine.methods.seen import SeenRequest
from tui.app import Explorer


def show_or_hide(app: Explorer) -> None:
    """Show or hide the picture."""
    if app.startup.ascii:
        app.say("no picture with --ascii")
    elif app.main.toggle_picture():
        app.call_after_refresh(app.picture.open)


def seen(app: Explorer) -> None:
    """Switch between the picture and what the model sees of it."""
    run = app.state.current
    if app.picture.shows_seen:
        app.picture.forget_seen()
    elif run is None or not run.has_picture:
        app.say("this run has no picture")
    elif run.seen is not None:
        app.picture.show_seen(run.run.id, run.seen)
    elif app.asker.read(run, SeenRequest()) is None:
        app.say("what the model sees needs the model and a run of it: r runs the question")
    if not app.main.shows_picture and not app.startup.ascii:
        show_or_hide(app)


def enlarge(app: Explorer) -> None:
    """Show the picture on the whole screen."""
    from tui.views.picture.picture_view import PictureView

    run, picture = app.state.current, app.state.question.picture
    if picture is None:
        app.say("no picture to enlarge")
        return
    seen = run.seen if run is not None and app.picture.is_of(run.run.question.picture) else None
    app.push_screen(
        PictureView(picture, seen, ascii_only=app.startup.ascii, colours=app.picture_colours)
    )
