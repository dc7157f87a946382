"""Screens with a table of their own, and its export."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from engine.errors import LenscopeError
from engine.tables import Table
from tui.app import Explorer
from tui.disk.paths import short_path
from tui.disk.working_folder import working_folder
from tui.sharing.copying import table_as
from tui.sharing.exporting import write_text
from tui.sharing.formats import FORMATS


@runtime_checkable
class HasTable(Protocol):
    """A screen that shows a table of its own."""

    @property
    def table(self) -> Table: ...

    @property
    def table_row(self) -> int: ...


def export_table(app: Explorer, screen: HasTable) -> None:
    """Ask for a file, whose ending chooses the format, and write the screen's table."""
    from tui.views.files.table_file import TableFile

    table = screen.table
    forms = {each.ending: each.name for each in FORMATS if each.is_copied}
    asking = TableFile(table.title, forms, working_folder(), ascii_only=app.startup.ascii)

    def take(name: str | None) -> None:
        if name is None:
            return
        path = asking.file.path(name)
        try:
            write_text(path, table_as(table, forms[path.suffix], raw=app.startup.raw_cells))
        except LenscopeError as error:
            app.say(str(error), "error")
        else:
            app.say(f"wrote {short_path(path)}", "good")

    app.push_screen(asking, take)
