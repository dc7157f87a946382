"""Where sessions go."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path


def state_folder() -> Path:
    """Return `$XDG_STATE_HOME/lenscope`, as the XDG rules have it: relative values are ignored."""
    given = os.environ.get("XDG_STATE_HOME", "")
    base = Path(given) if Path(given).is_absolute() else Path.home() / ".local" / "state"
    return base / "lenscope"


def kept_session_path() -> Path:
    """Return a new path for runs that were not saved when the explorer was left.

    The folders are made, readable by nobody else. Two explorers that leave within the same second
    get different names.
    """
    folder = state_folder() / "sessions"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for made in (folder.parent, folder):
        if made.stat().st_uid == os.getuid():
            made.chmod(0o700)
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    return _free(folder, stamp)


def new_session_path() -> Path:
    """Return where ctrl+s saves a session that has no file yet."""
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    return _free(Path.cwd(), f"lenscope-{stamp}")


def short_path(path: Path) -> str:
    """Return a path as it is shown: relative to the working directory, or with a tilde."""
    for base, prefix in ((Path.cwd(), ""), (Path.home(), "~/")):
        try:
            return prefix + str(path.relative_to(base))
        except ValueError:
            continue
    return str(path)


def _free(folder: Path, stem: str) -> Path:
    path = folder / f"{stem}.json"
    count = 2
    while path.exists():
        path = folder / f"{stem}-{count}.json"
        count += 1
    return path
