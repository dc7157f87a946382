"""The journal: the session of a running explorer on the disk, which survives even kill -9.

Each explorer writes a file of its own and holds a lock beside it as long as it lives. A journal
whose lock is free belongs to an explorer that was killed; `tui.disk.orphans` finds it.
"""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import LenscopeError, one_line
from engine.records import Session
from engine.system.files import reason_of
from tui.disk.owner import take_lock
from tui.disk.paths import journals_folder, own_folder, short_path, stamp

if TYPE_CHECKING:
    from tui.disk.journal_file import JournalFile

SUFFIX = ".journal"


class Journal:
    """Writes the newest session in a separate thread, one write at a time."""

    def __init__(self, tell: Callable[[str | None], None] | None = None) -> None:
        """`tell` is called in that thread with the reason whenever writing fails, and with None
        when it succeeds again."""
        self._tell = tell
        self._file: JournalFile | None = None
        self._lock: int | None = None
        self._newest: Session | None = None
        self._changed = threading.Condition()
        self._writing = False
        self._closed = False
        self.failure: str | None = None
        """Why the session is not on the disk, if the last write failed."""

    @property
    def path(self) -> Path | None:
        """Where the session is, if anything has been written."""
        return self._file.path if self._file is not None and self._file.path.exists() else None

    def write(self, session: Session) -> None:
        """Write this session soon, without waiting."""
        with self._changed:
            if self._closed:
                return
            begun = self._newest is not None or self._writing
            self._newest = session
            if not begun:
                threading.Thread(target=self._write_newest, daemon=True).start()

    def settle(self, seconds: float) -> bool:
        """Wait until what was given is on the disk; return whether it is."""
        with self._changed:
            done = self._changed.wait_for(
                lambda: self._newest is None and not self._writing, seconds
            )
        return done and self.failure is None

    def close(self, *, discard: bool, seconds: float = 2.0) -> None:
        """Close the journal; with `discard`, delete its file, because everything in it is saved
        elsewhere."""
        with self._changed:
            self._closed = True
            self._newest = None
            self._changed.wait_for(lambda: not self._writing, seconds)
        if self._file is not None and discard:
            self._file.delete()
            with suppress(OSError):
                lock_of(self._file.path).unlink(missing_ok=True)
        self._release()

    def _write_newest(self) -> None:
        while True:
            with self._changed:
                session, self._newest = self._newest, None
                self._writing = session is not None
                self._changed.notify_all()
            if session is None:
                return
            self._note(self._try(session))

    def _try(self, session: Session) -> str | None:
        """Write a session; return why that failed, or None."""
        try:
            if self._file is not None and self._file.is_elsewhere:
                self._file.close()
                self._release()
                self._file = None
            if self._file is None and not self._begin():
                return None
            assert self._file is not None
            self._file.write(session)
        except OSError as error:
            return f"{reason_of(error)}: {short_path(journals_folder())}"
        except MemoryError:
            return "memory ran out"
        except (LenscopeError, ValueError, RecursionError) as error:
            return one_line(error)
        return None

    def _begin(self) -> bool:
        """Take a new file; return whether the journal is still open."""
        file, lock = _new_file()
        with self._changed:
            if not self._closed:
                self._file, self._lock = file, lock
                return True
        os.close(lock)
        lock_of(file.path).unlink(missing_ok=True)
        return False

    def _note(self, failure: str | None) -> None:
        before, self.failure = self.failure, failure
        if (failure or before) and self._tell is not None and not self._closed:
            self._tell(failure)

    def _release(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def lock_of(journal: Path) -> Path:
    """Return the path of a journal's lock."""
    return journal.with_suffix(".lock")


def _new_file() -> tuple[JournalFile, int]:
    """Return a journal with a path of its own, and its lock: machines that share a home may have
    equal process ids."""
    from tui.disk.journal_file import JournalFile

    folder = own_folder(journals_folder())
    stem = f"{stamp()}-{os.getpid()}"
    while True:
        file = folder / f"{stem}{SUFFIX}"
        if not file.exists():
            with suppress(FileExistsError):
                return JournalFile(file), take_lock(lock_of(file))
        stem += f"-{secrets.token_hex(2)}"
