"""The file into which something is to be written, as the user types its name."""

from __future__ import annotations

from pathlib import Path

from tui.views.files.folder_lister import expand


class WantedFile:
    """Says why a file cannot be written; one that exists is replaced if it is named twice."""

    def __init__(self, folder: Path) -> None:
        """`folder` is that of names without one."""
        self.folder = folder
        self._confirmed: Path | None = None

    def path(self, typed: str) -> Path:
        """Return the file that is meant, with its tilde resolved."""
        return self.folder / expand(typed.strip())

    def changed(self) -> None:
        """Forget what was confirmed: another name is being typed."""
        self._confirmed = None

    def objection(self, typed: str) -> str:
        """Return why the file is not written now, or nothing if it may be."""
        path = self.path(typed)
        problem = _problem(path)
        if not problem and path.exists() and path != self._confirmed:
            self._confirmed = path
            return "this file exists: enter again replaces it"
        return problem


def _problem(path: Path) -> str:
    """Return why a file cannot be written there, or nothing if no reason is visible."""
    try:
        if path.is_dir():
            return "a folder: name a file"
        if path.exists() and not path.is_file():
            return "not a regular file"
        if not path.parent.is_dir():
            return "no such folder to write to"
    except (OSError, ValueError):
        return "not a possible file name"
    return ""
