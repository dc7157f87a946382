"""Where configuration, sessions and what is remembered lie."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path
from typing import Final

from platformdirs.unix import Unix

_FOLDERS: Final = Unix("lenscope")
"""The XDG folders on every system, macOS among them, as terminal programs have it. The environment
is read when a folder is asked for."""


def state_folder() -> Path:
    """Return `$XDG_STATE_HOME/lenscope`, where sessions and what is remembered go."""
    return _FOLDERS.user_state_path


def config_file() -> Path:
    """Return `$XDG_CONFIG_HOME/lenscope/config.toml`."""
    return _FOLDERS.user_config_path / "config.toml"


def sessions_folder() -> Path:
    """Return where sessions go that were not saved."""
    return state_folder() / "sessions"


def journals_folder() -> Path:
    """Return where the explorers that run keep their sessions meanwhile."""
    return state_folder() / "journals"


def own_folder(folder: Path) -> Path:
    """Make a folder of the state, and those above it, readable by nobody else."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for made in {folder, state_folder()}:
        if made.is_dir() and made.stat().st_uid == os.getuid():
            made.chmod(0o700)
    return folder


def kept_session_path() -> Path:
    """Return a new path for runs that were not saved when the explorer was left.

    Two explorers that leave within the same second get different names.
    """
    return free_path(own_folder(sessions_folder()), stamp())


def stamp() -> str:
    """Return the time as it is written in file names."""
    return datetime.now().strftime("%Y%m%d-%H%M%S")


def new_session_path() -> Path:
    """Return where ctrl+s saves a session that has no file yet."""
    return free_path(Path.cwd(), f"lenscope-{stamp()}")


def short_path(path: Path) -> str:
    """Return a path as it is shown: relative to the working directory, or with a tilde."""
    for base, prefix in ((Path.cwd(), ""), (Path.home(), "~/")):
        try:
            return prefix + str(path.relative_to(base))
        except ValueError:
            continue
    return str(path)


def free_path(folder: Path, stem: str) -> Path:
    """Return the path of a JSON file that does not exist yet."""
    path = folder / f"{stem}.json"
    count = 2
    while path.exists():
        path = folder / f"{stem}-{count}.json"
        count += 1
    return path
