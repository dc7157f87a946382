"""Sessions that were left behind: journals of explorers that were killed, and kept sessions."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import time
from typing import Final

from engine.errors import LenscopeError
from engine.records import Session
from tui.disk.journal import SUFFIX, lock_of
from tui.disk.owner import is_held
from tui.disk.paths import claimed_path, journals_folder, own_folder, sessions_folder

_STALE_SECONDS: Final = 3600.0
_TEMPORARY: Final = ".lenscope-*.tmp"
_PID: Final = re.compile(r"^\d{8}-\d{6}-(\d{1,10})(-|$)")


@dataclass(frozen=True)
class Orphan:
    """A session whose explorer was killed."""

    path: Path
    session: Session


def newest_orphan() -> Orphan | None:
    """Return the newest journal of an explorer that no longer runs, or None; damaged ones are
    left alone. Also take away what killed explorers left half written."""
    with suppress(OSError):
        _tidy(journals_folder())
        for path in _newest_first(journals_folder(), SUFFIX, ".json"):
            if _is_held(path):
                continue
            with suppress(LenscopeError):
                session = _read(path)
                if session.runs:
                    return Orphan(path, session)
    return None


def retire(orphan: Orphan) -> Path | None:
    """Move a journal to the kept sessions, so that it is not offered again; return its new path,
    or None where it cannot be moved."""
    from engine.sessions import write_session

    kept = None
    try:
        kept = claimed_path(own_folder(sessions_folder()), orphan.path.stem)
        write_session(orphan.session, kept)
        changed = _written_at(orphan.path)
        os.utime(kept, (changed, changed))
        orphan.path.unlink(missing_ok=True)
        lock_of(orphan.path).unlink(missing_ok=True)
    except (LenscopeError, OSError):
        if kept is not None and not _size(kept):
            with suppress(OSError):
                kept.unlink()
        return None
    return kept


def newest_kept() -> Path | None:
    """Return the newest session that was kept when an explorer was closed, or None."""
    with suppress(OSError):
        kept = _newest_first(sessions_folder(), ".json")
        return next((path for path in kept if _size(path)), None)
    return None


def _read(path: Path) -> Session:
    from engine.sessions import read_session
    from tui.disk.journal_file import read_journal

    # Earlier versions wrote a session file after each change.
    return read_journal(path) if path.suffix == SUFFIX else read_session(path)


def _newest_first(folder: Path, *suffixes: str) -> list[Path]:
    found = [path for suffix in suffixes for path in folder.glob(f"*{suffix}")]
    return sorted(found, key=_written_at, reverse=True)


def _is_held(journal: Path) -> bool:
    """Return whether the explorer that writes a journal still runs."""
    named = _PID.match(journal.stem)
    pid = int(named[1]) if named is not None else None
    return is_held(lock_of(journal), pid=pid, changed=_written_at(journal))


def _tidy(folder: Path) -> None:
    """Take away what explorers left that were killed while they wrote: unfinished files, and locks
    of journals that were never written. Younger ones may be in use."""
    for path in _left(folder):
        if time() - _written_at(path) > _STALE_SECONDS:
            with suppress(OSError):
                path.unlink()


def _left(folder: Path) -> Iterator[Path]:
    yield from folder.glob(_TEMPORARY)
    for lock in folder.glob("*.lock"):
        journals = (lock.with_suffix(suffix) for suffix in (SUFFIX, ".json"))
        if not any(path.exists() for path in journals) and not _is_held(lock):
            yield lock


def _written_at(path: Path) -> float:
    with suppress(OSError):  # deleted meanwhile
        return path.stat().st_mtime
    return 0.0


def _size(path: Path) -> int:
    with suppress(OSError):
        return path.stat().st_size
    return 0
