"""What is known about the file of a session, to notice that someone else has written it."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from msgspec.structs import replace

from engine.records import Reading, Run, Session

_SAVED: Final = re.compile(rb'"saved": ?"([^"\\]{0,40})"')
_HEAD_BYTES: Final = 4096


@dataclass(frozen=True)
class KnownFile:
    """A session file as it was when it was read or written here."""

    saved: str
    """Its own stamp, from its head."""
    status: tuple[int, int, int] | None
    """Its inode, size and time of change."""
    runs: frozenset[str]

    @classmethod
    def of(cls, session: Session, path: Path) -> KnownFile:
        """Return what is known of a file that holds this session."""
        return cls(session.saved, _status(path), frozenset(run.id for run in session.runs))

    def is_still(self, path: Path) -> bool:
        """Return whether nobody has written the file since. The stamp tells what happened between
        reading the file and looking at its status."""
        return self.status == _status(path) and self.saved == _stamp(path)


def combined(ours: Run, theirs: Run) -> Run:
    """Return a run that has been read further in two places, with what both have found."""
    if ours.rows != theirs.rows:
        return ours
    mine: tuple[Reading, ...] = tuple(
        old
        for old in ours.readings
        # Of two that tell the same, ours is kept.
        if not any(new.replaces(old) and not old.replaces(new) for new in theirs.readings)
    )
    ids = {token.id for token in ours.tracked}
    positions = {other.position for other in ours.others}
    return replace(
        ours,
        title=ours.title or theirs.title,
        tags=tuple(dict.fromkeys([*ours.tags, *theirs.tags])),
        note=ours.note or theirs.note,
        readings=(
            *mine,
            *(new for new in theirs.readings if not any(old.replaces(new) for old in mine)),
        ),
        tracked=(*ours.tracked, *(new for new in theirs.tracked if new.id not in ids)),
        others=(*ours.others, *(new for new in theirs.others if new.position not in positions)),
    )


def _status(path: Path) -> tuple[int, int, int] | None:
    with suppress(OSError):
        found = path.expanduser().stat()
        return found.st_ino, found.st_size, found.st_mtime_ns
    return None


def _stamp(path: Path) -> str | None:
    with suppress(OSError), path.expanduser().open("rb") as stream:
        found = _SAVED.search(stream.read(_HEAD_BYTES))
        return found[1].decode("ascii", "replace") if found is not None else None
    return None
