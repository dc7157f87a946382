"""The folder of a sweep, written so that the sweep can be killed at any time and resumed.

Every item is one line that is written with one call, so that a kill tears at most the last line of
a file; a torn line is dropped when the sweep resumes. Results of another sweep are refused.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import msgspec

from engine.errors import BadInput, LenscopeError, Remedy
from engine.sweeps.records import VERSION, Failure, Sweep, SweepItem
from engine.sweeps.sources.tasks import Task
from engine.system.files import read_file, reason_of, user_path, write_file

SWEEP = "sweep.json"
FAILURES = "failures.jsonl"
ITEMS = "items-*.jsonl"
MOST_BYTES = 2**26
LONGEST_LINE = 2**26

SAME_AS = "the same as "
"""How the failure of a question begins that another item answers."""

Record = TypeVar("Record")

_ITEMS = msgspec.json.Decoder(SweepItem)
_FAILURES = msgspec.json.Decoder(Failure)


class _Asked(msgspec.Struct, frozen=True):
    """The fields of a line that tell which question it answers; the others are not decoded."""

    item: str
    picture: _Picture | str | None
    prompt: str
    group: str = ""
    truth: str | None = None


class _Picture(msgspec.Struct, frozen=True):
    path: str
    sha256: str = ""


class CannotWrite(LenscopeError):
    """The results cannot be written any further; those that are stored stay intact."""


def refuse_another(folder: Path, known: Sweep, sweep: Sweep, model: bool = True) -> None:
    """Raise BadInput where results are not those of `sweep`, saying what differs; with `model` off,
    only what is known without a model is compared."""
    asked, now = known.question, sweep.question
    differing: list[tuple[str, object, object]] = [
        ("rule for the main object", known.data.rule, sweep.data.rule),
        ("system prompt", asked.system, now.system),
        ("prefix", asked.prefix, now.prefix),
        ("set of prompts", "; ".join(known.prompts), "; ".join(sweep.prompts)),
        ("list of pictures and questions", known.data.digest[:8], sweep.data.digest[:8]),
    ]
    if model:
        differing += [
            ("model", known.model.name, sweep.model.name),
            ("revision", known.model.revision, sweep.model.revision),
            ("class of model", known.model.class_name, sweep.model.class_name),
            ("dtype", known.model.dtype, sweep.model.dtype),
            ("number of layers", known.layers, sweep.layers),
            ("setting of raw prompts", not asked.chat, not now.chat),
            ("set of weights, quantised or not", known.weights[:8], sweep.weights[:8]),
        ]
    for what, old, new in differing:
        if old != new:
            raise BadInput(
                f"{folder} holds results of another {what}: it was {_short(old)}, "
                f"and is {_short(new)}; choose another folder",
                Remedy.OTHER_FOLDER,
            )


def task_key(path: str, task: Task) -> bytes:
    """A key for an item that is known before its picture is opened."""
    text = repr((path, task.prompt, task.group, task.truth))
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def item_id(sweep: Sweep, sha256: str, task: Task) -> str:
    """A hash of the picture's content, the question and the sweep's settings, as 16 hex digits."""
    model, question = sweep.model, sweep.question
    settings = (
        model.name, model.revision, model.class_name, model.dtype,
        question.chat, question.system, question.prefix,
    )  # fmt: skip
    text = repr((sha256, task.prompt, task.group, task.truth, settings))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def read_sweep(folder: Path) -> Sweep:
    """The sweep to which a folder of results belongs. Raises BadInput where there is none."""
    file = user_path(folder) / SWEEP
    data = read_file(file, "sweep", MOST_BYTES)
    try:
        sweep = msgspec.json.decode(data, type=Sweep)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadInput(f"{file}: not a sweep ({error})") from None
    if sweep.version > VERSION:
        raise BadInput(f"{file}: written by a newer Lenscope (format {sweep.version})")
    return sweep


def read_items(folder: Path) -> Iterator[SweepItem]:
    """All items, each id once, file by file; torn lines are skipped.

    Raises BadInput for a whole line that is not an item.
    """
    known: set[str] = set()
    for file in sorted(folder.glob(ITEMS)):
        for item in decoded_lines(file, _ITEMS, "an item"):
            if item.item not in known:
                known.add(item.item)
                yield item


def count_items(folder: Path) -> int:
    """How many whole lines there are in the files of all shards."""
    return sum(1 for file in folder.glob(ITEMS) for _ in lines_of(file))


def read_failures(folder: Path) -> list[Failure]:
    """The questions that could not be asked. Raises BadInput for a line that is not a failure."""
    file = folder / FAILURES
    return [*decoded_lines(file, _FAILURES, "a failure")] if file.exists() else []


def count_failures(folder: Path) -> tuple[int, int]:
    """How many questions could not be asked, and how many another item answers."""
    failures = read_failures(folder)
    same = sum(failure.error.startswith(SAME_AS) for failure in failures)
    return len(failures) - same, same


class Store:
    """The results of one shard, open and locked for writing. Close it."""

    def __init__(self, folder: str | Path, shard: int = 0, shards: int = 1) -> None:
        """Raises BadInput where the folder cannot be written to, or another writes this shard."""
        self.shard, self.shards = shard, shards
        self._handle = -1
        try:
            self.folder = user_path(folder)
            self.folder.mkdir(parents=True, exist_ok=True)
            self._file = self.folder / f"items-{shard:05}-of-{shards:05}.jsonl"
            self._handle = os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._handle)
            self._handle = -1  # the file is another process's
            raise BadInput(f"{folder}: another sweep is writing this shard") from None
        except OSError as error:
            raise BadInput(f"{folder}: cannot be written to ({reason_of(error)})") from None
        self._ids: set[str] = set()
        self.pictures: dict[str, str] = {}
        """From path to digest, of the pictures that have results; filled by `done`."""

    def belongs_to(self, sweep: Sweep) -> Sweep:
        """Begin the folder for this sweep, or resume it; returns the sweep that is recorded.

        Raises BadInput where the folder has another sweep's results, saying what differs.
        """
        file = self.folder / SWEEP
        with self._alone(SWEEP):
            if not file.exists():
                if any(each.stat().st_size for each in self.folder.glob(ITEMS)):
                    raise BadInput(
                        f"{self.folder}: results, but no {SWEEP}: choose another folder",
                        Remedy.OTHER_FOLDER,
                    )
                self._write_whole(file, msgspec.json.format(msgspec.json.encode(sweep)))
                return sweep
            known = read_sweep(self.folder)
        refuse_another(self.folder, known, sweep)
        return known

    def forget_failures(self, keys: set[bytes]) -> None:
        """Remove the failures of these questions, so that they are asked again."""
        if not (self.folder / FAILURES).exists():
            return
        with self._alone(FAILURES) as handle:
            self._drop_torn(handle)
            kept = [
                _line(failure)
                for failure in read_failures(self.folder)
                if failure.error.startswith(SAME_AS) or _key_of(failure) not in keys
            ]
            os.ftruncate(handle, 0)
            self._append(handle, b"".join(kept))

    def done(self) -> set[bytes]:
        """The keys of the questions that need not be asked again: those that any shard answered,
        and those that failed. Removes torn lines."""
        found: set[bytes] = set()
        self._drop_torn(self._handle)
        decoder = msgspec.json.Decoder(_Asked)
        for file in sorted(self.folder.glob(ITEMS)):
            for asked in decoded_lines(file, decoder, "an item"):
                self._ids.add(asked.item)
                if isinstance(asked.picture, _Picture):
                    task = Task(asked.prompt, asked.group, asked.truth)
                    found.add(task_key(asked.picture.path, task))
                    self.pictures.setdefault(asked.picture.path, asked.picture.sha256)
        failures = self.folder / FAILURES
        if failures.exists():
            with self._alone(FAILURES) as handle:
                self._drop_torn(handle)
            found |= {_key_of(failure) for failure in read_failures(self.folder)}
        return found

    def add(self, item: SweepItem) -> bool:
        """Write one item; returns False where this question about this picture is already stored.

        Raises CannotWrite.
        """
        if item.item in self._ids:
            return False
        self._append(self._handle, _line(item))
        self._ids.add(item.item)
        return True

    def fail(self, failure: Failure) -> None:
        """Write one failure. Raises CannotWrite."""
        with self._alone(FAILURES) as handle:
            self._append(handle, _line(failure))

    def note(self, notes: dict[str, str]) -> None:
        """Add to the sweep's notes on the model. Raises CannotWrite."""
        with self._alone(SWEEP):
            sweep = read_sweep(self.folder)
            if notes.items() <= sweep.notes.items():
                return
            whole = msgspec.structs.replace(sweep, notes={**sweep.notes, **notes})
            self._write_whole(self.folder / SWEEP, msgspec.json.format(msgspec.json.encode(whole)))

    def close(self) -> None:
        """Release the lock and close the file. Of a sweep that has not begun nothing is left."""
        if self._handle < 0:
            return
        with suppress(OSError):
            if not os.fstat(self._handle).st_size:
                self._file.unlink()
                self.folder.rmdir()  # only where the folder is empty
        fcntl.flock(self._handle, fcntl.LOCK_UN)  # a forked process may have a copy of it
        os.close(self._handle)
        self._handle = -1

    def _alone(self, name: str) -> _Locked:
        return _Locked(self.folder / f".{name}.lock" if name == SWEEP else self.folder / name)

    def _append(self, handle: int, line: bytes) -> None:
        before = os.fstat(handle).st_size
        try:
            written = os.write(handle, line)
            if written != len(line):
                raise OSError(28, "No space left on device")
        except OSError as error:
            os.ftruncate(handle, before)  # half a line is not an item
            raise CannotWrite(
                f"{self.folder}: the results cannot be written ({reason_of(error)}); "
                "those so far are intact, and the same command resumes"
            ) from None

    def _write_whole(self, file: Path, data: bytes) -> None:
        try:
            write_file(file, data)
        except (OSError, ValueError) as error:
            raise CannotWrite(f"{file}: cannot be written ({reason_of(error)})") from None

    @staticmethod
    def _drop_torn(handle: int) -> None:
        """Truncate the file after its last line break."""
        end = os.fstat(handle).st_size
        while end:
            start = max(0, end - 2**16)
            place = os.pread(handle, end - start, start).rfind(b"\n")
            if place >= 0:
                os.ftruncate(handle, start + place + 1)
                return
            end = start
        os.ftruncate(handle, 0)


class _Locked:
    """An open file with an exclusive lock, for which other processes wait."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def __enter__(self) -> int:
        try:
            self._handle = os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        except OSError as error:
            raise CannotWrite(f"{self._file}: cannot be written ({reason_of(error)})") from None
        fcntl.flock(self._handle, fcntl.LOCK_EX)
        return self._handle

    def __exit__(self, *_: object) -> None:
        os.close(self._handle)


def _key_of(failure: Failure) -> bytes:
    return task_key(failure.picture, Task(failure.prompt, failure.group, failure.truth))


def _line(record: SweepItem | Failure) -> bytes:
    # Numbers that are not finite are None already.
    return msgspec.json.encode(record) + b"\n"


def decoded_lines(
    file: Path, decoder: msgspec.json.Decoder[Record], what: str, holding: bytes = b""
) -> Iterator[Record]:
    """The records in a file's whole lines, or only in those that have `holding` in their beginning.

    Raises BadInput for a line that is not such a record.
    """
    for number, line in lines_of(file):
        if holding not in line[:64]:
            continue
        try:
            yield decoder.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise BadInput(f"{file}, line {number}: not {what} ({error})") from None


def lines_of(file: Path) -> Iterator[tuple[int, bytes]]:
    """The whole lines of a file and their numbers, from 1; a torn last line is left out."""
    try:
        with file.open("rb") as stream:
            for number, line in enumerate(iter(lambda: stream.readline(LONGEST_LINE), b""), 1):
                if line.endswith(b"\n"):
                    yield number, line
    except OSError as error:
        raise BadInput(f"{file}: cannot be read ({reason_of(error)})") from None


def _short(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    text = str(value or "none")
    return text if len(text) <= 60 else f"{text[:57]}..."
