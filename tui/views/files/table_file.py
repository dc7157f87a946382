"""The dialog that asks for the file of a screen's own table."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from tui.sharing.exporting import suggested_stem
from tui.views.files.wanted_file import WantedFile
from tui.widgets.line_input import LineInput


class TableFile(LineInput):
    """Returns the name of a file with one of the endings, or None. If the file exists, the user
    has confirmed replacing it."""

    def __init__(
        self, title: str, endings: Collection[str], folder: Path, *, ascii_only: bool
    ) -> None:
        super().__init__(
            f"export {title} to",
            f"{suggested_stem(title)}.csv",
            keys=f"the ending chooses: {' '.join(endings)}",
            ascii_only=ascii_only,
        )
        self._endings = endings
        self.file = WantedFile(folder)

    def changed(self) -> None:
        """See `LineInput.changed`."""
        self.file.changed()

    def objection(self, line: str) -> str:
        """Return why the file is not written now; see `LineInput.objection`."""
        if self.file.path(line).suffix not in self._endings:
            return f"the name must end with {', '.join(self._endings)}"
        return self.file.objection(line)
