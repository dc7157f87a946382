"""Actions that open pictures, and open, save and recover sessions."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import samples
from engine.errors import LenscopeError
from engine.records import Picture, Session
from tui.app import Explorer
from tui.disk.orphans import retire
from tui.disk.paths import short_path
from tui.disk.saving import keep_unsaved, save_session
from tui.text.numbers import count_of_runs
from tui.text.pasted import pasted_path
from tui.text.show import plain_line
from tui.widgets.background import in_background

_MOST_PASTED = 60
"""Characters of a pasted text that a message repeats."""


def save(app: Explorer) -> None:
    """Save the session."""
    save_session(app.state, app.main.table.cursor)
    app.presenter.show_lines()


def open_file(app: Explorer) -> None:
    """Choose a picture or a session to open."""
    from tui.views.files.file_dialog import FileDialog

    app.push_screen(
        FileDialog(
            _start_folder(app),
            recent=app.remembered.pictures,
            ascii_only=app.startup.ascii,
            preview=not (app.startup.ascii or app.startup.lite),
            colours=app.picture_colours,
        ),
        partial(open_path, app),
    )


def _start_folder(app: Explorer) -> str:
    picture = app.state.question.picture
    if picture is None or picture.path == str(samples.DEFAULT_PICTURE):
        return ""
    folder = Path(picture.path).parent
    return f"{folder}/" if folder.is_dir() and str(folder) != "." else ""


def open_pasted(app: Explorer) -> None:
    """Open the file whose path was pasted or dropped on the table."""
    from tui.views.files.folder_lister import expand

    path = pasted_path(app.pasted)
    edit = app.keymap.first("edit") or "the palette"
    if not path:
        return
    if _is_file(Path(expand(path))):
        open_path(app, path)
    else:
        shown = plain_line(path[:_MOST_PASTED], ascii_only=app.startup.ascii)
        app.say(f"no file of this name: {shown}; {edit} edits the prompt, where text is pasted")


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def open_path(app: Explorer, path: str | None) -> None:
    """Open a picture or a session."""
    from tui.views.files.file_dialog import is_session
    from tui.views.files.folder_lister import expand

    if path is None:
        return
    whole = expand(path)
    if is_session(whole):
        _read_session(app, Path(whole))
    else:
        app.main.preview.open(Picture(whole))


def _read_session(app: Explorer, path: Path) -> None:
    """Read a session in the background, then show it."""
    app.say(f"reading {short_path(path)}")

    def work() -> tuple[Session, Path | None] | str:
        from engine.pages.opening import is_page, open_session

        try:
            # Saving never replaces a page.
            return open_session(path), None if is_page(path) else path
        except LenscopeError as error:
            return str(error)

    def then(read: tuple[Session, Path | None] | str) -> None:
        if isinstance(read, str):
            app.say(read, "error")
        else:
            _show_session(app, *read)

    in_background(app, work, then)


def _show_session(app: Explorer, session: Session, path: Path | None) -> bool:
    """Show a session, after keeping what is unsaved in the current one. Where no place takes that,
    return False: it stays."""
    state = app.state
    app.asker.cancel()
    kept = keep_unsaved(state, app.main.table.cursor)
    if not kept.well:
        app.say(f"not opened: {kept.line}", "error")
        return False
    state.asked = None
    state.reopen(session, path)
    app.asker.bundled = None
    app.picture.forget_seen()
    app.presenter.put_prompt(state.question.prompt)
    app.presenter.show_all()
    app.picture.open()
    app.picture.show_facts()
    if state.reopened_row is not None:
        app.main.table.put_cursor(state.reopened_row)
    opened = f"opened {count_of_runs(len(session.runs))}"
    app.say(f"{opened}; {kept.line}" if kept.line else opened, "good")
    return True


def recover(app: Explorer) -> None:
    """Reopen the session that was not closed."""
    orphan = app.leaving.orphan
    if orphan is None:
        app.say("every session was closed properly")
        return
    if _show_session(app, orphan.session, None):
        app.leaving.orphan = None
        app.state.offer = ""
        retire(orphan)
        app.presenter.show_lines()
