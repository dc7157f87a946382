"""Screens with a table of their own, and its export."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from engine.errors import LenscopeError
from engine.tables import Table
from tui.app import Explorer
from tui.disk.paths import short_path
from tui.disk.working_folder import working_folder
from tui.sharing.copying import table_as
from tui.sharing.exporting import suggested_stem, write_text
from tui.sharing.formats import FORMATS


@runtime_checkable
class HasTable(Protocol):
    """A screen that shows a table of its own."""

    @property
    def table(self) -> Table: ...

    @property
    def table_row(self) -> int: ...

    def tell(self, words: str) -> None:
        """Show what came of copying or exporting it."""
        ...


def export_table(app: Explorer, screen: HasTable) -> None:
    """Ask for a file, whose ending chooses the format, and write the screen's table."""
    from tui.widgets.line_input import LineInput

    table = screen.table
    endings = {each.ending: each.name for each in FORMATS if each.is_copied}

    def take(name: str | None) -> None:
        if name:
            write(name)
            screen.tell(app.state.note.text if app.state.note is not None else "")

    def write(name: str) -> None:
        path = working_folder() / name
        form = endings.get(path.suffix)
        if form is None:
            app.say(f"the name must end with {', '.join(endings)}", "error")
        elif path.exists():
            app.say(f"{short_path(path)} exists; nothing was written", "error")
        else:
            try:
                write_text(path, table_as(table, form, raw=app.startup.raw_cells))
            except LenscopeError as error:
                app.say(str(error), "error")
            else:
                app.say(f"wrote {short_path(path)}", "good")

    stem = suggested_stem(table.title)
    app.push_screen(
        LineInput(
            f"export {table.title} to",
            f"{stem}.csv",
            keys=f"the ending chooses: {' '.join(endings)}",
            ascii_only=app.startup.ascii,
        ),
        take,
    )
