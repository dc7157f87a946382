"""Actions on the picture: hide it, enlarge it, show what the model sees."""

from __future__ import annotations

from pathlib import Path

from msgspec.structs import replace

from engine.methods.seen import SeenRequest
from engine.records import Picture
from tui.app import Explorer

MOST_ASKED = 200
"""Most pictures of a folder that one key asks about."""


def show_or_hide(app: Explorer) -> None:
    """Show or hide the picture."""
    if app.startup.ascii:
        app.say("no picture with --ascii")
    elif app.state.question.picture is None and app.asker.bundled is None:
        app.say(f"no picture to show: {app.keymap.first('open') or 'the palette'} opens one")
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


# ---------------------------------------------------------------------- the folder


def neighbour(app: Explorer, step: int) -> None:
    """Open the next or the previous picture of the folder."""
    here, paths = _folder(app)
    if not paths:
        app.say("no pictures beside this one: o opens one")
        return
    before = [path for path in paths if path < here] if here not in paths else []
    place = paths.index(here) if here in paths else len(before) - (step > 0)
    wanted = place + step
    if 0 <= wanted < len(paths):
        app.main.preview.open(Picture(paths[wanted]))
    else:
        app.say(f"this is the {'last' if step > 0 else 'first'} of {len(paths):,} pictures here")


def ask_every(app: Explorer) -> None:
    """Ask the question in the editor about every picture of the folder, and show the list of
    runs."""
    _, paths = _folder(app)
    present = app.presenter.question()
    if not paths:
        app.say("no pictures beside this one: o opens one")
        return
    asked = [replace(present, picture=Picture(path)) for path in paths[:MOST_ASKED]]
    if app.asker.run_all(asked):
        app.call_next(app.do, "history")
        if len(paths) > MOST_ASKED:
            app.say(f"the first {MOST_ASKED} of {len(paths):,} pictures; a sweep asks about all")
    app.presenter.show_all()


def _folder(app: Explorer) -> tuple[str, list[str]]:
    """Return the path of the present picture, and those of the pictures of its folder."""
    from tui.views.files.folder_lister import MOST_LISTED, PICTURE_ENDINGS, scan

    picture = app.state.question.picture
    if picture is None:
        return "", []
    folder = Path(picture.path).parent
    entries, _ = scan(str(folder), MOST_LISTED)
    names = [name for is_file, _, name in entries if is_file]
    shown = [name for name in names if Path(name).suffix.lower() in PICTURE_ENDINGS]
    return picture.path, [str(folder / name) for name in shown]
