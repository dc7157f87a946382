"""The journal: the session of a running explorer on the disk, which survives even kill -9.

Each explorer writes a file of its own and holds a lock beside it as long as it lives. A journal
whose lock is free belongs to an explorer that was killed; it is offered at the next start.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import threading
from dataclasses import dataclass
from pathlib import Path

from engine.errors import LenscopeError
from engine.records import Session
from tui.disk.paths import free_path, journals_folder, own_folder, sessions_folder, stamp


class Journal:
    """Writes the newest session in a separate thread, one write at a time."""

    def __init__(self) -> None:
        self._file: Path | None = None
        self._lock: int | None = None
        self._newest: Session | None = None
        self._changed = threading.Condition()
        self._writing = False
        self._closed = False

    def write(self, session: Session) -> None:
        """Write this session soon, without waiting."""
        with self._changed:
            if self._closed:
                return
            begun = self._newest is not None or self._writing
            self._newest = session
            if not begun:
                threading.Thread(target=self._write_newest, daemon=True).start()

    def close(self, *, discard: bool, seconds: float = 2.0) -> None:
        """Close the journal; with `discard`, delete its file, because everything in it is saved
        elsewhere."""
        with self._changed:
            self._closed = True
            self._newest = None
            self._changed.wait_for(lambda: not self._writing, seconds)
        if self._file is not None and discard:
            with contextlib.suppress(OSError):
                self._file.unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                _lock_of(self._file).unlink(missing_ok=True)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _write_newest(self) -> None:
        from engine.sessions import write_session

        while True:
            with self._changed:
                session, self._newest = self._newest, None
                self._writing = session is not None
                self._changed.notify_all()
            if session is None:
                return
            # Saving the session reports disk errors; the journal only tries.
            with contextlib.suppress(LenscopeError, OSError, MemoryError):
                write_session(session, self._own_file())

    def _own_file(self) -> Path:
        if self._file is None:
            file, self._lock = _new_file()
            with contextlib.suppress(
                OSError
            ):  # a drive without locks; its journals are not offered
                fcntl.flock(self._lock, fcntl.LOCK_EX)
            self._file = file
        return self._file


def _new_file() -> tuple[Path, int]:
    """Return a unique journal path and its lock: machines that share a home may have equal
    process ids."""
    folder = own_folder(journals_folder())
    stem = f"{stamp()}-{os.getpid()}"
    while True:
        file = free_path(folder, stem)
        with contextlib.suppress(FileExistsError):
            return file, os.open(_lock_of(file), os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        stem += f"-{secrets.token_hex(2)}"


@dataclass(frozen=True)
class Orphan:
    """A session whose explorer was killed."""

    path: Path
    session: Session


def newest_orphan() -> Orphan | None:
    """Return the newest journal of an explorer that no longer runs, or None; damaged ones are
    left alone."""
    from engine.sessions import read_session

    with contextlib.suppress(OSError):
        for path in _newest_first(journals_folder()):
            if _is_held(path):
                continue
            with contextlib.suppress(LenscopeError):
                session = read_session(path)
                if session.runs:
                    return Orphan(path, session)
    return None


def retire(orphan: Orphan) -> Path | None:
    """Move a journal to the kept sessions, so that it is not offered again; return its new path,
    or None where it cannot be moved."""
    with contextlib.suppress(OSError):
        kept = free_path(own_folder(sessions_folder()), orphan.path.stem)
        orphan.path.rename(kept)
        _lock_of(orphan.path).unlink(missing_ok=True)
        return kept
    return None


def newest_kept() -> Path | None:
    """Return the newest session that was kept when an explorer was closed, or None."""
    with contextlib.suppress(OSError):
        return next(iter(_newest_first(sessions_folder())), None)
    return None


def _newest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.json"), key=_written_at, reverse=True)


def _written_at(path: Path) -> float:
    with contextlib.suppress(OSError):  # deleted meanwhile
        return path.stat().st_mtime
    return 0.0


def _lock_of(journal: Path) -> Path:
    return journal.with_suffix(".lock")


def _is_held(journal: Path) -> bool:
    """Return whether the explorer that writes a journal still runs."""
    try:
        descriptor = os.open(_lock_of(journal), os.O_RDWR)
    except FileNotFoundError:
        return False
    except OSError:  # another user's
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False
