"""Actions that copy or export what is shown."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from engine.errors import LenscopeError
from engine.records import Reading, Run
from tui.actions.own_tables import HasTable, export_table
from tui.actions.runs import show_run
from tui.app import Explorer
from tui.disk.paths import short_path
from tui.disk.working_folder import working_folder
from tui.sharing.copying import (
    reading_text,
    row_text,
    table_as,
    table_row_text,
    table_text,
    write_export,
)
from tui.sharing.formats import COPY_FORMATS, DEFAULT_COPY, FIGURES
from tui.state.run_view import RunView
from tui.widgets.background import in_background
from tui.widgets.places import title_words
from tui.widgets.reading_view import ReadingView
from tui.widgets.thumb import open_thumb

if TYPE_CHECKING:
    from PIL.Image import Image


@runtime_checkable
class HasReading(Protocol):
    """A view or a screen that shows a reading, once it has arrived."""

    @property
    def reading(self) -> Reading | None: ...


def copy_row(app: Explorer) -> None:
    """Copy the row under the cursor, of the screen's own table, of the focused reading or else of
    the run."""
    view, form, screen = app.main.focused, _format(app), app.screen
    if isinstance(screen, HasTable):
        text = table_row_text(screen.table, screen.table_row, form, raw=app.startup.raw_cells)
        app.copy_text(text, f"row {screen.table_row} of {screen.table.title} as {form}")
        return
    if isinstance(view, ReadingView) and view.row is not None:
        table, row = view.row
        app.copy_text(
            table_row_text(table, row, form, raw=app.startup.raw_cells),
            f"row {row} of {view.method.name} as {form}",
        )
        return
    run = _readable(app)
    if run is None:
        return
    row = app.main.table.cursor
    if row < len(run.rows):
        text = row_text(run, row, form, raw=app.startup.raw_cells)
        app.copy_text(text, f"row {row}{_where(run)} as {form}")
    else:
        app.say(f"row {row} has not been read")


def copy_table(app: Explorer) -> None:
    """Copy all tables of the focused reading, or else the whole run."""
    view, form = app.screen if app.has_dialog else app.main.focused, _format(app)
    if isinstance(view, HasTable):
        text = table_as(view.table, form, raw=app.startup.raw_cells)
        app.copy_text(text, f"{view.table.title} as {form}")
        return
    if isinstance(view, HasReading) and view.reading is not None:
        text = reading_text(view.reading, form, raw=app.startup.raw_cells)
        app.copy_text(text, f"{view.reading.method} as {form}")
        return
    run = _readable(app)
    if run is not None:
        look = app.state.look
        text = table_text(run, form, look.top_k, look.figures, raw=app.startup.raw_cells)
        app.copy_text(text, f"{len(run.rows)} rows{_where(run)} as {form}")


def _where(run: RunView) -> str:
    at = title_words(run, run.run.position)
    return f" {at}" if at else ""


def copy_as(app: Explorer) -> None:
    """Choose the format for copying, and copy the table."""
    from tui.widgets.chooser import Choice, Chooser

    choices = [Choice(name, name, detail) for name, detail in COPY_FORMATS.items()]
    app.push_screen(
        Chooser("copy the table as", choices, ascii_only=app.startup.ascii),
        partial(_take_format, app),
    )


def _take_format(app: Explorer, name: str | None) -> None:
    if name is not None:
        app.copy_format = name
        app.remembered.note(copy_format=name)
        copy_table(app)


def _format(app: Explorer) -> str:
    return app.copy_format if app.copy_format in COPY_FORMATS else DEFAULT_COPY


def copy_command(app: Explorer) -> None:
    """Copy the command that reproduces this run."""
    run = _asked(app)
    if run is not None:
        from tui.sharing.reproduce import as_command

        app.copy_text(as_command(run, app.asker.options), "the command for this run")


def copy_python(app: Explorer) -> None:
    """Copy the Python code that reproduces this run."""
    run = _asked(app)
    if run is not None:
        from tui.sharing.reproduce import as_python

        app.copy_text(as_python(run, app.asker.options), "the Python for this run")


def export(app: Explorer) -> None:
    """Ask for a format and a file, and export the run, the screen, or the screen's own table."""
    if isinstance(app.screen, HasTable):
        export_table(app, app.screen)
        return
    run = _readable(app)
    if run is not None:
        from tui.views.files.export_dialog import ExportDialog

        app.push_screen(
            ExportDialog(run, working_folder(), ascii_only=app.startup.ascii),
            partial(write, app, run),
        )


def write(app: Explorer, run: RunView, chosen: tuple[str, Path] | None) -> None:
    """Write a run to the chosen file in the chosen format."""
    if chosen is None:
        return
    name, path = chosen
    if name == "svg":
        before = app.state.current
        if before is not run.own:  # another run has started meanwhile
            app.state.show(run.own)
            show_run(app, before)
        # Wait until the dialog has left the screen.
        app.set_timer(0.2, partial(_shoot, app, path))
        return
    look = app.state.look
    write = partial(
        write_export,
        run,
        name,
        path,
        look.top_k,
        look.figures,
        app.asker.options,
        raw=app.startup.raw_cells,
        beside=app.state.session(row=app.main.table.cursor, with_live=False),
    )

    def work() -> str:
        try:
            write()
        except LenscopeError as error:
            return str(error)
        return ""

    def then(problem: str) -> None:
        if problem:
            app.say(problem, "error")
        else:
            app.say(f"wrote {short_path(path)}", "good")

    if name in FIGURES:  # takes seconds
        app.say(f"drawing {short_path(path)}")
        in_background(app, work, then)
    else:
        then(work())


def shoot_screen(app: Explorer) -> None:
    """Save a picture of the screen to the working directory once the palette has closed."""
    app.set_timer(0.1, partial(_shoot, app, None))


def _shoot(app: Explorer, path: Path | None) -> None:
    """Save the screen as it is, but with the picture and the prompt of the shown run beside its
    table: a figure must not say that the rows belong to what has not been asked."""
    run = app.state.current
    picture = run.run.question.picture if run is not None else None
    if picture is None or "picture" not in app.presenter.changed:
        _write_screen(app, path, None)
        return

    def work() -> Image | None:
        try:
            return open_thumb(picture, of_run=True)[0]
        except LenscopeError:
            return None

    def then(image: Image | None) -> None:
        if app.state.current is run:
            _write_screen(app, path, image)
        else:  # another run has started meanwhile
            _shoot(app, path)

    in_background(app, work, then)


def _write_screen(app: Explorer, path: Path | None, image: Image | None) -> None:
    try:
        with app.presenter.as_asked(image):
            if path is None:
                path = Path(app.save_screenshot(path=str(working_folder())))
            else:
                app.save_screenshot(path.name, path=str(path.parent))
    except OSError as error:
        app.say(f"the picture cannot be written ({error.strerror or error})", "error")
        return
    app.say(f"wrote {short_path(path)}", "good")


def _readable(app: Explorer) -> RunView | None:
    """Return the shown run, at the position under the cursor, if its rows may be shared; else say
    why not."""
    run = app.state.here
    if run is not None and run.blank:
        app.say(run.blank)
    elif run is None or not run.rows:
        app.say("nothing has been read yet: r runs the question")
    elif run.refused:
        app.say("this run's proof failed: its rows cannot be copied or exported", "error")
    else:
        return run
    return None


def _asked(app: Explorer) -> Run | None:
    run = app.state.current
    if run is None:
        app.say("no run yet: r runs the question")
    return run.run if run is not None else None
