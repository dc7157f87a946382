"""The folder for files that the user saves without naming a folder."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def working_folder() -> Path:
    """Return the working folder or, once it has been removed, the user's home or the folder for
    temporary files.

    Raises OSError where there is none of them.
    """
    try:
        return Path.cwd()
    except FileNotFoundError:
        pass
    try:
        home = Path.home()
        if home.is_dir() and _can_be_written(home):
            return home
    except (OSError, RuntimeError):  # no home is known
        pass
    return Path(tempfile.gettempdir())


def _can_be_written(folder: Path) -> bool:
    return os.access(folder, os.W_OK | os.X_OK)
