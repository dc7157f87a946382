"""The paths of configuration, sessions and remembered choices."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Final

from platformdirs.unix import Unix

_FOLDERS: Final = Unix("lenscope")
"""XDG folders on every system, including macOS, as is usual for terminal programs. The
environment is read each time a folder is asked for."""


def state_folder() -> Path:
    """Return `$XDG_STATE_HOME/lenscope`, the folder of sessions and remembered choices.

    Raises FileNotFoundError where there is neither that variable nor a home folder.
    """
    return _found(lambda: _FOLDERS.user_state_path, "XDG_STATE_HOME")


def config_file() -> Path:
    """Return `$XDG_CONFIG_HOME/lenscope/config.toml`.

    Raises FileNotFoundError where there is neither that variable nor a home folder.
    """
    return _found(lambda: _FOLDERS.user_config_path, "XDG_CONFIG_HOME") / "config.toml"


def sessions_folder() -> Path:
    """Return the folder in which unsaved sessions are kept."""
    return state_folder() / "sessions"


def journals_folder() -> Path:
    """Return the folder of the journals of running explorers."""
    return state_folder() / "journals"


def own_folder(folder: Path) -> Path:
    """Create a folder of the state and its parents, readable only by the user."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for made in {folder, state_folder()}:
        if made.is_dir() and made.stat().st_uid == os.getuid():
            made.chmod(0o700)
    return folder


def crashes_folder() -> Path:
    """Return the folder of the tracebacks of explorers that ended on an error of their own."""
    return state_folder() / "crashes"


def kept_session_path() -> Path:
    """Claim a new path for runs that were unsaved when the explorer closed."""
    return claimed_path(own_folder(sessions_folder()), stamp())


def temporary_session_path() -> Path:
    """Claim a new path in the folder for temporary files, which only the user can read."""
    return claimed_path(Path(tempfile.mkdtemp(prefix="lenscope-")), stamp())


def stamp() -> str:
    """Return the current time in the form used in file names."""
    return datetime.now().strftime("%Y%m%d-%H%M%S")


def new_session_path() -> Path:
    """Claim a new path in the working folder for a session that has no file yet."""
    return claimed_path(Path.cwd(), f"lenscope-{stamp()}")


def short_path(path: Path) -> str:
    """Return a path for display: relative to the working directory, or with a tilde."""
    for base, prefix in ((Path.cwd, ""), (Path.home, "~/")):
        # The folder has been removed, there is no home, or the path is not in it.
        with suppress(OSError, RuntimeError, ValueError):
            return prefix + str(path.relative_to(base()))
    return str(path)


def _found(folder: Callable[[], Path], variable: str) -> Path:
    try:
        return folder()
    except RuntimeError:  # HOME is not set, and the user has no entry in the system's list
        words = f"no home folder is known; set HOME or {variable}"
        raise FileNotFoundError(errno.ENOENT, words) from None


def free_path(folder: Path, stem: str) -> Path:
    """Return the path of a JSON file that does not exist yet."""
    path = folder / f"{stem}.json"
    count = 2
    while path.exists():
        path = folder / f"{stem}-{count}.json"
        count += 1
    return path


def claimed_path(folder: Path, stem: str) -> Path:
    """Return the path of a new, empty JSON file. Two explorers that close at the same moment, as
    when their terminal dies, get different ones.

    Raises OSError where the folder cannot be written to.
    """
    while True:
        path = free_path(folder, stem)
        with suppress(FileExistsError):
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
            return path
