"""The folder of a sweep, written so that the sweep can be killed at any time and resumed.

Every item is one line that is written with one call, so that a kill tears at most the last line of
a file; a torn line is dropped when the sweep resumes. Results of another sweep are refused. What is
written can be read: the limits for both are the same, and are checked before anything is written.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from engine.errors import BadInput, LenscopeError, Remedy, one_line
from engine.records import Counterfactual
from engine.sweeps.checking import Damaged, check_sweep
from engine.sweeps.decoding import item_of
from engine.sweeps.names import unquoted
from engine.sweeps.records import (
    MOST_AGAINST,
    MOST_TEXT,
    VERSION,
    Decoding,
    DepthOrder,
    Failure,
    Sweep,
    SweepItem,
)
from engine.sweeps.replacing import asked_as
from engine.sweeps.settings import names_of
from engine.sweeps.sources.tasks import Source, Task
from engine.system.file_locks import lock, unlock
from engine.system.files import read_file, reason_of, storable, user_path, write_file

SWEEP = "sweep.json"
FAILURES = "failures.jsonl"
ITEMS = "items-*.jsonl"
MOST_BYTES = 2**26
"""Of `sweep.json`."""
LONGEST_LINE = 2**25
"""Bytes of an item or a failure."""

SAME_AS = "the same as "
"""How the failure of a question begins that another item answers."""

UNREAD = "without its reading of "
"""How the failure of a reading begins whose item is stored all the same."""

OFFLOADED_UNKNOWN = "?"
"""In `Sweep.offloaded`: weights are not in memory, and their files are not known either."""

Record = TypeVar("Record")

_NOT_A_RECORD = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, Damaged)
_TEMPORARY = re.compile(r"\.lenscope-[0-9a-f]{12}\.tmp")
"""What `write_file` makes, and leaves where it is killed."""

_FAILURES = msgspec.json.Decoder(Failure)


class _Asked(msgspec.Struct, frozen=True):
    """The fields of a line that tell which question it answers; the others are not decoded."""

    item: str
    picture: _Picture | str | None
    prompt: str
    group: str = ""
    truth: str | None = None
    against: str = ""


class _Picture(msgspec.Struct, frozen=True):
    path: str
    sha256: str = ""
    quoted: str | UnsetType = UNSET


class CannotWrite(LenscopeError):
    """The results cannot be written any further; those that are stored stay intact."""


def refuse_another(folder: Path, known: Sweep, sweep: Sweep, model: bool = True) -> None:
    """Raise BadInput where results are not those of `sweep`, saying what differs; with `model` off,
    only what is known without a model is compared.

    Models are told apart by their weights, not by the spelling of their names. Raises it, too,
    where there would be more counterfactuals than a sweep can have.
    """
    asked, now = known.question, sweep.question
    before = {asked_as(each): each for each in known.against}
    differing: list[tuple[str, object, object]] = [
        (f"picture for {name}", _content(before[name]), _content(each))
        for each in sweep.against
        if (name := asked_as(each)) in before
    ]
    differing += [
        ("rule for the main object", known.data.rule, sweep.data.rule),
        ("system prompt", asked.system, now.system),
        ("prefix", asked.prefix, now.prefix),
        ("set of readings", ", ".join(known.reads), ", ".join(sweep.reads)),
        ("set of prompts", "; ".join(known.prompts), "; ".join(sweep.prompts)),
        ("list of pictures and questions", known.data.digest[:8], sweep.data.digest[:8]),
    ]
    differing += _decoding(known.decoding, sweep.decoding)
    differing += [
        (f"request to {name}", _written(known.orders[name]), _written(order))
        for name, order in sweep.orders.items()
        if name in known.orders
    ]
    if model and not _same_weights(known, sweep):
        differing += [
            ("model", known.model.name, sweep.model.name),
            ("revision", known.model.revision, sweep.model.revision),
        ]
    if model:
        differing += [
            ("class of model", known.model.class_name, sweep.model.class_name),
            ("dtype", known.model.dtype, sweep.model.dtype),
            ("number of layers", known.layers, sweep.layers),
            ("setting of raw prompts", not asked.chat, not now.chat),
            ("set of weights, quantised or not", known.weights[:8], sweep.weights[:8]),
        ]
        if known.offloaded:
            differing.append(
                ("set of weight files", known.offloaded[:8], sweep.offloaded[:8]),
            )
    for what, old, new in differing:
        if old != new:
            raise BadInput(
                f"{folder} holds results of another {what}: it was {_short(old)}, "
                f"and is {_short(new)}; choose another folder",
                Remedy.OTHER_FOLDER,
            )
    if (count := len(_together(known, sweep))) > MOST_AGAINST:
        raise BadInput(
            f"{folder} would hold results of {count:,} counterfactuals; the limit is "
            f"{MOST_AGAINST}; choose another folder",
            Remedy.OTHER_FOLDER,
        )


def _together(known: Sweep, sweep: Sweep) -> tuple[Counterfactual, ...]:
    """The counterfactuals of what is stored, and those that are new."""
    return (*known.against, *(each for each in sweep.against if each not in known.against))


def _decoding(known: Decoding | None, now: Decoding | None) -> list[tuple[str, object, object]]:
    """What may differ in how answers are decoded, in words."""
    if known is None or now is None:
        return []  # the sets of readings differ
    names = names_of(known), names_of(now)
    only = [
        ", ".join(f"[{name}]" for name in one if name not in other) or "without these"
        for one, other in (names, names[::-1])
    ]
    limits = [each.settings[0].max_new_tokens for each in (known, now)]
    return [
        ("set of decoding settings", *(only if names[0] != names[1] else ("", ""))),
        ("limit of new tokens", *limits),
        ("number of draws", known.draws, now.draws),
    ]


def _written(order: DepthOrder) -> str:
    """What a method is asked, in words."""
    settings = [f"{name}={value}" for name, value in order.request.items() if value]
    against = [] if order.against is None else [f"against={asked_as(order.against)}"]
    return ", ".join((*against, *settings))


def _content(counterfactual: Counterfactual) -> object:
    return str(counterfactual.parameters.get("sha256", ""))[:8]


def _same_weights(known: Sweep, sweep: Sweep) -> bool:
    """Whether both are known to be of the same weights; of offloaded ones, `weights` holds only
    names, shapes and dtypes."""
    return (
        known.weights != ""
        and known.weights == sweep.weights
        and known.offloaded == sweep.offloaded != OFFLOADED_UNKNOWN
    )


def task_key(name: str, task: Task) -> bytes:
    """A key for an item that is known before its picture is opened; `name` is the picture's exact
    name, so that two that only look alike have two keys."""
    text = repr((name, task.prompt, task.group, task.truth, *_instead(task)))
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def item_id(sweep: Sweep, sha256: str, task: Task) -> str:
    """A hash of the picture's content, the question and the sweep's settings, as 16 hex digits."""
    model, question = sweep.model, sweep.question
    settings = (
        model.name, model.revision, model.class_name, model.dtype,
        question.chat, question.system, question.prefix,
    )  # fmt: skip
    text = repr((sha256, task.prompt, task.group, task.truth, settings, *_instead(task)))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _instead(task: Task) -> tuple[str, ...]:
    """What stands in the place of the picture; nothing for the picture itself, so that keys and ids
    are those of older versions."""
    return (task.against,) if task.against else ()


def read_sweep(folder: Path) -> Sweep:
    """The sweep to which a folder of results belongs. Raises BadInput where there is none."""
    file = user_path(folder) / SWEEP
    data = read_file(file, "sweep", MOST_BYTES)
    try:
        sweep = msgspec.json.decode(data, type=Sweep)
        if sweep.version <= VERSION:
            check_sweep(sweep)
    except _NOT_A_RECORD as error:
        raise BadInput(f"{storable(file)}: not a sweep ({one_line(error)})") from None
    if sweep.version > VERSION:
        raise BadInput(
            f"{storable(file)}: written by a newer Lenscope (format {sweep.version}); "
            "update to open it"
        )
    return sweep


def refuse_long_texts(source: Source) -> None:
    """Raise BadInput for a question that is longer than a line of the results may be."""
    for picture in source.listing:
        for task in picture.tasks:
            for text in (picture.path, task.prompt, task.group, task.truth or ""):
                if len(text) > MOST_TEXT:
                    raise BadInput(
                        f"{source.path}: picture {storable(picture.path)[:100]} has a text of "
                        f"{len(text):,} characters ({text[:20]!r}...); the limit is {MOST_TEXT:,}"
                    )


def read_items(folder: Path) -> Iterator[SweepItem]:
    """All items, each id once, file by file; torn lines are skipped.

    Raises BadInput for a whole line that is not an item.
    """
    known: set[str] = set()
    for file in sorted(folder.glob(ITEMS)):
        for item in decoded_lines(file, item_of, "an item"):
            if item.item not in known:
                known.add(item.item)
                yield item


def count_items(folder: Path) -> tuple[int, int]:
    """How many whole lines there are in the files of all shards: about pictures, and with something
    else instead of them."""
    counts = [0, 0]
    for file in folder.glob(ITEMS):
        for _, line in lines_of(file):
            # In a text, the quotes would be escaped.
            counts[b'"against":"' in line] += 1
    return counts[0], counts[1]


def read_failures(folder: Path) -> list[Failure]:
    """The questions that could not be asked. Raises BadInput for a line that is not a failure."""
    return [*_failures(folder)]


def count_failures(folder: Path) -> tuple[int, int]:
    """How many questions could not be asked, and how many another item answers. Raises BadInput
    for a line that is not a failure."""
    others = same = 0
    for failure in _failures(folder):
        if failure.error.startswith(SAME_AS):
            same += 1
        elif not failure.error.startswith(UNREAD):
            others += 1
    return others, same


def _failures(folder: Path) -> Iterator[Failure]:
    file = folder / FAILURES
    if file.exists():
        yield from decoded_lines(file, _FAILURES.decode, "a failure")


def remove_stale(folder: Path) -> None:
    """Remove what a process that was killed while it wrote a whole file has left in a folder to
    which nobody else is writing. Raises OSError where the folder cannot be listed."""
    for file in folder.iterdir():
        if _TEMPORARY.fullmatch(file.name):
            with suppress(OSError):
                file.unlink()


class Store:
    """The results of one shard, open and locked for writing. Close it."""

    def __init__(self, folder: str | Path, shard: int = 0, shards: int = 1) -> None:
        """Raises BadInput where the folder cannot be written to, or another writes this shard."""
        self.shard, self.shards = shard, shards
        self.is_locked = False
        """Whether another sweep of this shard is kept out; False where the file system has no
        locks."""
        self._handle = -1
        self._is_new = False
        """Whether the file of this shard was made here."""
        self._made: list[Path] = []
        """The folders that were made for the results, the innermost first."""
        shown = storable(folder)
        try:
            self.folder = user_path(folder)
            self._make_folder()
            self._file = self.folder / f"items-{shard:05}-of-{shards:05}.jsonl"
            self._is_new = not self._file.exists()
            self._handle, self.is_locked = _locked(self._file, wait=False)
            self._remove_stale()
        except BlockingIOError:  # the file is another process's
            raise BadInput(f"{shown}: another sweep is writing this shard") from None
        except OSError as error:
            self._remove_own_file()
            self.close()
            raise BadInput(
                f"{shown}: cannot be written to ({reason_of(error)})", Remedy.OTHER_FOLDER
            ) from None
        except LenscopeError:
            self.close()
            raise
        self._ids: set[str] = set()
        self.pictures: dict[str, str] = {}
        """From exact name to digest, of the pictures that have results; filled by `done`."""

    def _make_folder(self) -> None:
        missing = [self.folder, *self.folder.parents]
        self._made = [each for each in missing if not os.path.lexists(each)]
        self.folder.mkdir(parents=True, exist_ok=True)

    def _remove_own_file(self) -> None:
        """Remove the file of this shard, if nothing is in it."""
        with suppress(OSError):
            if (self.is_locked or self._is_new) and not self._file.stat().st_size:
                self._file.unlink()

    def _remove_stale(self) -> None:
        """Remove what a sweep that was killed while it wrote `sweep.json` has left."""
        with self._alone(SWEEP):  # nobody else is writing it
            remove_stale(self.folder)

    def belongs_to(self, sweep: Sweep) -> Sweep:
        """Begin the folder for this sweep, or resume it; returns the sweep that is recorded.

        Raises BadInput where the folder has another sweep's results, saying what differs.
        """
        file = self.folder / SWEEP
        with self._alone(SWEEP):
            if not file.exists():
                if any(each.stat().st_size for each in self.folder.glob(ITEMS)):
                    raise BadInput(
                        f"{storable(self.folder)}: results, but no {SWEEP}: choose another folder",
                        Remedy.OTHER_FOLDER,
                    )
                self._write_sweep(sweep)
                return sweep
            known = read_sweep(self.folder)
            refuse_another(self.folder, known, sweep)
            # The same data may lie elsewhere now: its pictures are to be found.
            data = msgspec.structs.replace(
                known.data, path=sweep.data.path, folder=sweep.data.folder
            )
            now = msgspec.structs.replace(known, data=data, against=_together(known, sweep))
            if now != known:
                self._write_sweep(now)
        return now

    def forget_failures(self, keys: set[bytes]) -> None:
        """Remove the failures of these questions, so that they are asked again."""
        if not (self.folder / FAILURES).exists():
            return
        with self._alone(FAILURES) as handle:
            self._drop_torn(handle)
            kept = [
                _line(failure)
                for failure in read_failures(self.folder)
                if failure.error.startswith((SAME_AS, UNREAD)) or _key_of(failure) not in keys
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
            for asked in decoded_lines(file, decoder.decode, "an item"):
                self._ids.add(asked.item)
                if isinstance(asked.picture, _Picture):
                    task = Task(asked.prompt, asked.group, asked.truth, asked.against)
                    name = unquoted(asked.picture.path, asked.picture.quoted)
                    found.add(task_key(name, task))
                    self.pictures.setdefault(name, asked.picture.sha256)
        if (self.folder / FAILURES).exists():
            with self._alone(FAILURES) as handle:
                self._drop_torn(handle)
            found |= {
                _key_of(failure)
                for failure in read_failures(self.folder)
                if not failure.error.startswith(UNREAD)
            }
        return found

    def holds(self, item: str) -> bool:
        """Whether the item with this id is stored already."""
        return item in self._ids

    def add(self, item: SweepItem) -> bool:
        """Write one item; returns False where this question about this picture is already stored.

        Raises CannotWrite.
        """
        if self.holds(item.item):
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
            self._write_sweep(msgspec.structs.replace(sweep, notes={**sweep.notes, **notes}))

    def close(self) -> None:
        """Release the lock and close the file. Of a sweep that has not begun nothing is left."""
        handle, self._handle = self._handle, -1
        if handle >= 0:
            self._remove_own_file()
            with suppress(OSError):
                unlock(handle)  # a forked process may have a copy of it
            os.close(handle)
        made, self._made = self._made, []
        with suppress(OSError):
            for folder in made:
                folder.rmdir()  # only where the folder is empty

    def _alone(self, name: str) -> _Locked:
        if name == SWEEP:
            return _Locked(self.folder / f".{name}.lock", is_passing=True)
        return _Locked(self.folder / name)

    def _append(self, handle: int, line: bytes) -> None:
        before = os.fstat(handle).st_size
        try:
            written = os.write(handle, line)
            if written != len(line):
                raise OSError(28, "No space left on device")
        except OSError as error:
            with suppress(OSError):  # half a line is not an item; it is dropped on resuming, too
                os.ftruncate(handle, before)
            raise CannotWrite(
                f"{storable(self.folder)}: the results cannot be written ({reason_of(error)}); "
                "those so far are intact, and the same command resumes"
            ) from None

    def _write_sweep(self, sweep: Sweep) -> None:
        file = self.folder / SWEEP
        data = msgspec.json.format(msgspec.json.encode(sweep))
        if len(data) > MOST_BYTES:
            raise BadInput(
                f"{storable(file)}: {len(data):,} bytes of prompts; the limit is {MOST_BYTES:,}"
            )
        try:
            msgspec.json.decode(data, type=Sweep)
            check_sweep(sweep)
        except _NOT_A_RECORD as error:
            raise BadInput(f"{storable(file)}: it could not be read ({one_line(error)})") from None
        try:
            write_file(file, data)
        except (OSError, ValueError) as error:
            raise CannotWrite(f"{storable(file)}: cannot be written ({reason_of(error)})") from None

    @staticmethod
    def _drop_torn(handle: int) -> None:
        """Truncate the file after its last line break. Raises BadInput where what is torn is longer
        than a line can be: that was not written here."""
        size = end = os.fstat(handle).st_size
        lowest = max(0, size - LONGEST_LINE)
        while end > lowest:
            start = max(lowest, end - 2**16)
            place = os.pread(handle, end - start, start).rfind(b"\n")
            if place >= 0:
                os.ftruncate(handle, start + place + 1)
                return
            end = start
        if lowest:
            raise BadInput(
                f"the last {size - lowest:,} bytes of the results have no line break: they are not "
                "a sweep's; choose another folder",
                Remedy.OTHER_FOLDER,
            )
        os.ftruncate(handle, 0)


class _Locked:
    """An open file with an exclusive lock, for which other processes wait; they do not where the
    file system has no locks."""

    def __init__(self, file: Path, is_passing: bool = False) -> None:
        """A passing file is there only for its lock, and removed when that is released."""
        self._file = file
        self._is_passing = is_passing

    def __enter__(self) -> int:
        try:
            self._handle, _ = _locked(self._file, wait=True)
        except OSError as error:
            raise CannotWrite(
                f"{storable(self._file)}: cannot be written ({reason_of(error)})"
            ) from None
        return self._handle

    def __exit__(self, *_: object) -> None:
        if self._is_passing:
            with suppress(OSError):
                self._file.unlink()
        os.close(self._handle)


def _locked(file: Path, wait: bool) -> tuple[int, bool]:
    """A file that is open for appending, and whether it is locked. Raises what opening and locking
    raise."""
    while True:
        handle = _open(file)
        try:
            is_locked = lock(handle, wait=wait)
            # Who had the lock may have removed the file, and this one is another of its name.
            if os.path.samestat(os.fstat(handle), file.stat()):
                return handle, is_locked
        except FileNotFoundError:
            pass
        except OSError:
            os.close(handle)
            raise
        os.close(handle)


def _open(file: Path) -> int:
    """Open a regular file for appending, and make it if there is none. Raises OSError, or BadInput
    for anything else: a pipe, a device, a socket."""
    handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NONBLOCK, 0o666)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise _not_regular(file)
    return handle


def _not_regular(file: Path) -> BadInput:
    return BadInput(
        f"{storable(file)}: not a regular file; remove it, or choose another folder",
        Remedy.OTHER_FOLDER,
    )


def _key_of(failure: Failure) -> bytes:
    name = unquoted(failure.picture, failure.quoted)
    against = "" if failure.against is UNSET else failure.against
    return task_key(name, Task(failure.prompt, failure.group, failure.truth, against))


def _line(record: SweepItem | Failure) -> bytes:
    # Numbers that are not finite are None already.
    return msgspec.json.encode(record) + b"\n"


def decoded_lines(
    file: Path, decode: Callable[[bytes], Record], what: str, holding: bytes = b""
) -> Iterator[Record]:
    """The records in a file's whole lines, or only in those that have `holding` in their beginning.

    Raises BadInput for a line that is not such a record.
    """
    for number, line in lines_of(file):
        if holding not in line[:64]:
            continue
        try:
            yield decode(line)
        except _NOT_A_RECORD as error:
            raise damaged_line(file, number, what, error) from None


def damaged_line(file: Path, number: int, what: str, error: Exception) -> BadInput:
    """The error for a line that is not what it should be, with what can be done about it."""
    return BadInput(
        f"{storable(file)}, line {number}: not {what} ({one_line(error)}); take that line out, and "
        "the same sweep asks its question again"
    )


def lines_of(file: Path) -> Iterator[tuple[int, bytes]]:
    """The whole lines of a file and their numbers, from 1; a torn last line is left out.

    Raises BadInput for a file that cannot be read, is not a regular one, or has a line that is
    longer than any that is written.
    """
    try:
        # A pipe would wait for a writer.
        handle = os.open(file, os.O_RDONLY | os.O_NONBLOCK)
        with os.fdopen(handle, "rb") as stream:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise _not_regular(file)
            for number, line in enumerate(iter(lambda: stream.readline(LONGEST_LINE), b""), 1):
                if line.endswith(b"\n"):
                    yield number, line
                elif len(line) == LONGEST_LINE:
                    raise BadInput(
                        f"{storable(file)}, line {number}: longer than {LONGEST_LINE:,} bytes: no "
                        "sweep has written that; remove the file, or choose another folder"
                    )
    except OSError as error:
        raise BadInput(f"{storable(file)}: cannot be read ({reason_of(error)})") from None


def _short(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    text = str(value or "none")
    return text if len(text) <= 60 else f"{text[:57]}..."
