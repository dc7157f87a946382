"""Saving to a session file that another explorer may have opened too."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from typing import Final

from engine.errors import BadInput
from engine.system.files import user_path
from tui.disk.paths import claimed_path, short_path
from tui.state.view_state import ViewState

_PATIENCE_SECONDS: Final = 2.0


@dataclass(frozen=True)
class Saved:
    """Where a session has been saved."""

    path: Path
    note: str = ""
    """What else there is to say about it."""


def save_shared(state: ViewState, row: int, path: Path) -> Saved:
    """Write the session to the file that it was read from or saved to before.

    What someone else has written there meanwhile is taken in first; if it is no session any more,
    the file stays as it is and the session goes beside it.

    Raises BadInput or OSError where it cannot be written.
    """
    from engine.sessions import read_session, write_session

    file = user_path(path)
    with _alone_in(file.parent):
        note = ""
        if file.exists() and not state.knows_file(file):
            try:
                theirs = read_session(file)
            except BadInput:
                path = claimed_path(file.parent, file.stem)
                note = f"{short_path(file)} is something else by now and stays as it is"
            else:
                changed = state.take_in(theirs)
                if changed:
                    runs = f"{changed} run{'s' if changed > 1 else ''}"
                    note = f"{runs} of it from someone else, who saved it meanwhile"
        session = state.session(row=row, with_live=False)
        write_session(session, path)
        state.mark_saved(session, path)
    return Saved(path, note)


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Wait until no other explorer is saving to this folder, but not for long, and not where the
    drive has no locks."""
    descriptor = -1
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    end = monotonic() + _PATIENCE_SECONDS
    try:
        while descriptor >= 0 and monotonic() < end:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                sleep(0.01)
            except OSError:
                break
        yield
    finally:
        if descriptor >= 0:
            os.close(descriptor)
