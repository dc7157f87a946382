"""The file of a journal: what has changed in a session is appended, a JSON object a line.

    {"format": "lenscope-journal", "version": 1, "created": TIME}
    {"id": RUN, "run": {...}}                      a run, as a session file holds it
    {"id": RUN, "fields": {...}, "longer": {...}}  fields that have changed, and lists of which the
                                                   first N items stay and others follow: [N, [...]]
    {"comparison": {...}}
    {"saved": TIME, "view": {...}, "runs": [...]}  the end of a change; the ids of all runs in their
                                                   order, where new ones were not just added

Whoever is killed while writing leaves at most a torn last line, which is left out when the file is
read. A file that is mostly out of date is written anew beside itself and then renamed.
"""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import sleep
from typing import Any, Final

import msgspec
from msgspec import Raw, Struct, structs

from engine.errors import BadInput, LenscopeError
from engine.records import Comparison, Run, RunId, Session, Time
from engine.sessions import (
    MAX_BYTES,
    MAX_STORED_RUN_BYTES,
    check_session,
    part_to_json,
    run_from_json,
    run_to_json,
)
from engine.system.files import reason_of

FORMAT: Final = "lenscope-journal"
VERSION: Final = 1
SPARE_BYTES: Final = 2**20
"""So much may be out of date in any file, however short."""
_LONGEST_LINE: Final = MAX_STORED_RUN_BYTES + 2**16
_AT_ONCE: Final = 2**20
_DAMAGE: Final = (msgspec.DecodeError, RecursionError, ValueError, TypeError, LenscopeError)
_GROWING: Final = frozenset({"tokens", "rows", "tracked", "others", "readings"})


@dataclass(frozen=True)
class _Written:
    """A run in the file."""

    run: Run
    at: int
    size: int
    """Place and length of the line that has all of it."""
    changed: bool = False
    """Whether other lines have changed it since."""


@dataclass
class _Content:
    """What a file holds."""

    size: int = 0
    runs: dict[str, _Written] = field(default_factory=dict)
    """In their order."""
    comparisons: dict[str, Comparison] = field(default_factory=dict)
    view: dict[str, Any] | None = None


class JournalFile:
    """Writes one journal. One thread writes; any other may delete the file meanwhile."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.bytes_written = 0
        """All together, with those that were replaced later."""
        self._content = _Content()
        self._descriptor: int | None = None
        self._temporary: Path | None = None
        self._gate = threading.Lock()
        self._deleted = False

    @property
    def is_elsewhere(self) -> bool:
        """Whether someone else has moved, replaced or deleted the file."""
        if self._descriptor is None:
            return False
        try:
            there = self.path.stat()
        except OSError:
            return True
        mine = os.fstat(self._descriptor)
        return (there.st_dev, there.st_ino) != (mine.st_dev, mine.st_ino)

    def write(self, session: Session) -> None:
        """Bring the file up to date.

        Raises OSError where that fails: then the file holds what it held before, and the next call
        writes all of it.
        """
        if self._descriptor is None or self._is_mostly_old(session):
            self._write_anew(session)
            return
        try:
            self._content = self._append(self._descriptor, session, self._content)
        except OSError:
            with suppress(OSError):
                os.ftruncate(self._descriptor, self._content.size)
            self.close()
            raise

    def delete(self) -> None:
        """Delete the file for good, even while another thread writes it."""
        with self._gate:
            self._deleted = True
            for path in (self.path, self._temporary):
                if path is not None:
                    with suppress(OSError):
                        path.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the file; it stays."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _is_mostly_old(self, session: Session) -> bool:
        runs = [self._content.runs.get(run.id) for run in session.runs]
        needed = sum(written.size for written in runs if written is not None)
        return self._content.size > 2 * needed + SPARE_BYTES

    def _write_anew(self, session: Session) -> None:
        temporary = self.path.with_name(f".lenscope-{secrets.token_hex(6)}.tmp")
        with self._gate:
            if self._deleted:
                return
            descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            self._temporary = temporary
        try:
            head = {"format": FORMAT, "version": VERSION, "created": session.created}
            size = self._put(descriptor, part_to_json(head).encode() + b"\n")
            content = self._append(descriptor, session, _Content(size))
            with self._gate:
                if not self._deleted:
                    temporary.replace(self.path)
                self._temporary = None
        except BaseException:
            os.close(descriptor)
            with suppress(OSError):
                temporary.unlink()
            raise
        self.close()
        self._descriptor, self._content = descriptor, content

    def _append(self, descriptor: int, session: Session, content: _Content) -> _Content:
        """Append what a file lacks of a session; return what it holds then."""
        written, size = dict(content.runs), content.size
        waiting = bytearray()
        added: list[str] = []
        # The newest first: they are on the disk before all of a long session is.
        for run in reversed(session.runs):
            before = written.get(run.id)
            if before is None:
                line = self._copied(run) or _whole(run)
                written[run.id] = _Written(run, size + len(waiting), len(line))
                added.append(run.id)
            elif before.run is not run:
                line = _change(before.run, run)
                changed = before.changed or bool(line)
                written[run.id] = _Written(run, before.at, before.size, changed)
            else:
                continue
            waiting += line
            if len(waiting) >= _AT_ONCE:
                size += self._put(descriptor, waiting)
                waiting.clear()
                sleep(0)  # the keys come first
        comparisons = dict(content.comparisons)
        for comparison in session.comparisons:
            if comparisons.get(comparison.against) is not comparison:
                comparisons[comparison.against] = comparison
                waiting += b'{"comparison": %s}\n' % part_to_json(comparison).encode()
        end: dict[str, Any] = {"saved": session.saved}
        if session.view != content.view:
            end["view"] = session.view
        order = [run.id for run in session.runs]
        if order != [*content.runs, *added]:
            end["runs"] = order
        waiting += part_to_json(end).encode() + b"\n"
        size += self._put(descriptor, waiting)
        os.fsync(descriptor)
        return _Content(size, {run: written[run] for run in order}, comparisons, session.view)

    def _copied(self, run: Run) -> bytes | None:
        """Return the line with all of a run from the present file, where it still holds: copying
        is much quicker than writing a run as JSON."""
        known = self._content.runs.get(run.id)
        if self._descriptor is None or known is None or known.run is not run or known.changed:
            return None
        line = os.pread(self._descriptor, known.size, known.at)
        return line if len(line) == known.size and line.endswith(b"}\n") else None

    def _put(self, descriptor: int, data: bytes | bytearray) -> int:
        left = memoryview(bytes(data))
        while left:
            count = os.write(descriptor, left)
            self.bytes_written += count
            left = left[count:]
        return len(data)


def _whole(run: Run) -> bytes:
    return b'{"id": "%s", "run": %s}\n' % (run.id.encode(), run_to_json(run).encode())


def _change(before: Run, run: Run) -> bytes:
    """Return the line that makes one run of the other; nothing where they are equal."""
    fields, longer = [], []
    for name in Run.__struct_fields__:
        old, new = getattr(before, name), getattr(run, name)
        if name == "readings":
            old, new = (tuple(each for each in both if each.worth_keeping) for both in (old, new))
        if old is new or old == new:
            continue
        if name in _GROWING:
            same = _equal_at_first(old, new)
            longer.append(f'"{name}": [{same}, {part_to_json(new[same:])}]')
        else:
            fields.append(f'"{name}": {part_to_json(new)}')
    if not fields and not longer:
        return b""
    parts = f'"fields": {{{", ".join(fields)}}}, "longer": {{{", ".join(longer)}}}'
    return b'{"id": "%s", %s}\n' % (run.id.encode(), parts.encode())


def _equal_at_first(old: tuple[Any, ...], new: tuple[Any, ...]) -> int:
    count = 0
    for one, other in zip(old, new, strict=False):
        if one is not other and one != other:
            break
        count += 1
    return count


_NO_RUN: Final = Raw(b"")


class _Line(Struct):
    format: str = ""
    version: int = 0
    created: Time = ""
    id: RunId = ""
    run: Raw = _NO_RUN
    fields: dict[str, Any] = msgspec.field(default_factory=dict)
    longer: dict[str, tuple[int, list[Any]]] = msgspec.field(default_factory=dict)
    comparison: Comparison | None = None
    saved: Time = ""
    view: dict[str, Any] | None = None
    runs: tuple[RunId, ...] | None = None


def read_journal(path: Path) -> Session:
    """Read a journal up to the first line that is torn or damaged.

    Runs that are damaged are left out. Raises BadInput where it cannot be read, is of another
    format or of a newer version.
    """
    try:
        with path.open("rb") as stream:
            head = msgspec.json.decode(stream.readline(_LONGEST_LINE), type=_Line)
            if head.format != FORMAT or head.version < 1:
                raise BadInput(f"{path}: not a journal of Lenscope")
            if head.version > VERSION:
                raise BadInput(f"{path}: written by a newer Lenscope; update to open it")
            return _Reader(head.created).read(iter(lambda: stream.readline(_LONGEST_LINE), b""))
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({reason_of(error)})") from None
    except (msgspec.DecodeError, RecursionError, ValueError) as error:
        raise BadInput(f"{path}: a damaged journal ({error})") from None


class _Reader:
    """Puts a session together from the lines of a journal."""

    def __init__(self, created: str) -> None:
        self._created, self._saved = created, created
        self._runs: dict[str, list[_Line]] = {}
        """The line with all of a run, then those that change it."""
        self._order: dict[str, None] = {}
        self._comparisons: dict[str, Comparison] = {}
        self._view: dict[str, Any] = {}

    def read(self, lines: Iterable[bytes]) -> Session:
        taken = 0
        for data in lines:
            taken += len(data)
            if not data.endswith(b"\n") or taken > 3 * MAX_BYTES:
                break
            try:
                self._take(msgspec.json.decode(data, type=_Line))
            except (msgspec.DecodeError, RecursionError, ValueError):
                break
        return self._session()

    def _take(self, line: _Line) -> None:
        if line.run is not _NO_RUN:
            self._runs[line.id] = [line]
            self._order.setdefault(line.id)
        elif line.id in self._runs:
            self._runs[line.id].append(line)
        if line.comparison is not None:
            self._comparisons[line.comparison.against] = line.comparison
        if line.saved:
            self._saved = line.saved
        if line.view is not None:
            self._view = line.view
        if line.runs is not None:
            self._order = dict.fromkeys(line.runs)

    def _session(self) -> Session:
        runs = []
        for identity in self._order:
            with suppress(*_DAMAGE):
                runs.append(_put_together(self._runs.get(identity, [])))
        ids = {run.id for run in runs}
        session = Session(
            created=self._created,
            saved=self._saved,
            runs=tuple(runs),
            comparisons=tuple(
                known for known in self._comparisons.values() if {known.of, known.against} <= ids
            ),
            view=self._view,
        )
        try:
            check_session(session)
        except ValueError:  # the runs are what must not be lost
            session = structs.replace(session, comparisons=(), view={})
        return session


def _put_together(lines: list[_Line]) -> Run:
    if not lines or lines[0].run is _NO_RUN:
        raise ValueError("a run without a beginning")
    if len(lines) == 1:
        return run_from_json(lines[0].run)
    run: dict[str, Any] = msgspec.json.decode(lines[0].run)
    for line in lines[1:]:
        run.update(line.fields)
        for name, (kept, items) in line.longer.items():
            run[name] = [*run.get(name, ())[:kept], *items]
    return run_from_json(msgspec.json.encode(run))
