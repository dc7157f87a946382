"""Actions on the picture: hide it, enlarge it, show what the model sees."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from msgspec.structs import replace

from engine.methods.seen import SeenRequest
from engine.records import Picture
from tui.app import Explorer
from tui.widgets.background import in_background

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

    def then(folder: _Folder) -> None:
        names, here = folder.names, folder.here
        place = names.index(here) if here in names else folder.before - (step > 0)
        wanted = place + step
        if 0 <= wanted < len(names):
            app.main.preview.open(Picture(folder.path(names[wanted])))
        else:
            where = "last" if step > 0 else "first"
            app.say(f"this is the {where} of {len(names):,} pictures here")

    _in_folder(app, then)


def ask_every(app: Explorer) -> None:
    """Ask the question in the editor about every picture of the folder, and show the list of
    runs."""

    def then(folder: _Folder) -> None:
        present, names = app.presenter.question(), folder.names
        asked = [replace(present, picture=Picture(folder.path(name))) for name in names]
        if app.asker.run_all(asked[:MOST_ASKED]):
            app.call_next(app.do, "history")
            if len(names) > MOST_ASKED:
                app.say(
                    f"the first {MOST_ASKED} of {len(names):,} pictures; a sweep asks about all"
                )
        app.presenter.show_all()

    _in_folder(app, then)


@dataclass(frozen=True)
class _Folder:
    """The pictures beside a picture."""

    root: Path
    here: str
    """The picture's name."""
    names: tuple[str, ...]
    """Those of all pictures, sorted as every list of files is."""

    @property
    def before(self) -> int:
        """How many of them come before the picture."""
        return sum((name.lower(), name) < (self.here.lower(), self.here) for name in self.names)

    def path(self, name: str) -> str:
        """Return the path of one of them."""
        return str(self.root / name)


def _in_folder(app: Explorer, then: Callable[[_Folder], None]) -> None:
    """List the folder of the present picture in the background, and go on with what is there."""
    from tui.views.files.folder_lister import MOST_LISTED, PICTURE_ENDINGS, expand, scan

    picture = app.state.question.picture
    opens = app.keymap.first("open") or "the palette"
    if picture is None:
        app.say(f"no picture, and so no folder of it: {opens} opens one")
        return
    path = Path(expand(picture.path))

    def work() -> _Folder:
        entries, _ = scan(str(path.parent), MOST_LISTED)
        names = (name for is_file, _, name in entries if is_file)
        shown = tuple(name for name in names if Path(name).suffix.lower() in PICTURE_ENDINGS)
        return _Folder(path.parent, path.name, shown)

    def found(folder: _Folder) -> None:
        now = app.state.question.picture
        if now is None or now.path != picture.path:
            return  # another one has been opened meanwhile
        if folder.names:
            then(folder)
        else:
            app.say(f"no pictures beside this one: {opens} opens one")

    in_background(app, work, found)
