"""Session files: every type and size is checked on reading; writing is atomic."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType, field, structs

from engine.arrays import Array, arrays_in
from engine.errors import BadInput, LenscopeError
from engine.methods.everywhere import last_position
from engine.methods.registry import is_known, method_of
from engine.records import (
    MOST_LAYERS,
    MOST_SHORT,
    Comparison,
    Layer,
    OtherPosition,
    Picture,
    Reading,
    Request,
    Run,
    Session,
    Time,
    UnknownReading,
)
from engine.stays import formation_row
from engine.system.files import read_file, reason_of, replacing, storable

FORMAT: Final = "lenscope-session"
VERSION: Final = 1
MAX_BYTES: Final = 2**30
"""Of a session file, for writing and reading alike."""
MAX_RUN_BYTES: Final = 32 * 2**20
"""Of one run: nothing is added to a session that would make it larger."""
MAX_STORED_RUN_BYTES: Final = 64 * 2**20
"""Of one run in a file, for writing and reading alike: earlier versions, whose files were at most
so large, had no limit of their own for a run, and what they wrote must stay readable."""
MAX_DEPTH: Final = 100
_MOST_VIEW_BYTES: Final = 2**20
_MOST_OF_A_CAUSE: Final = 300


class _Head(Struct):
    """What says whether a file is a session of this version."""

    format: Any = None
    version: Any = None


class _Content(Struct):
    """A session whose runs are not decoded yet, so that each can be measured first."""

    created: Time
    saved: Time
    runs: tuple[Raw, ...] = ()
    comparisons: tuple[Comparison, ...] = ()
    view: dict[str, Any] = field(default_factory=dict)


class _StoredRun(Run, frozen=True):
    """A run as it is stored: the types of its readings depend on their methods, and older files
    have no formation row."""

    readings: tuple[Raw, ...] = ()  # type: ignore[assignment]
    formation: Layer | UnsetType | None = UNSET  # type: ignore[assignment]


_RUN: Final = msgspec.json.Decoder(_StoredRun)
_DAMAGE = (msgspec.DecodeError, RecursionError, UnicodeDecodeError, ValueError, LenscopeError)


def read_session(path: str | Path) -> Session:
    """Read and check a session file, without changing it.

    Raises BadInput, with the name of the file, if it is missing, too large, damaged, of another
    format or of a newer version.
    """
    return session_from_json(read_file(path, "session file", MAX_BYTES), storable(path))


def session_from_json(data: bytes, name: str, what: str = "session file") -> Session:
    """Check the content of a session file; `what` is the kind of file that `name` is.

    Raises BadInput, in one line that begins with the name, if it is damaged, of another format or
    of a newer version.
    """
    try:
        version = _version_of(data)
        if version is None:
            raise BadInput(f"{name}: not a Lenscope session")
        if version > VERSION:
            raise BadInput(
                f"{name}: written by a newer Lenscope (format version {version}); update to open it"
            )
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError, ValueError) as error:
        raise BadInput(f"{name}: a damaged {what} ({_cause(error)})") from None
    try:
        content = msgspec.json.decode(data, type=_Content)
        runs = tuple(_numbered_run(index, raw) for index, raw in enumerate(content.runs, 1))
        session = Session(
            created=content.created,
            saved=content.saved,
            runs=runs,
            comparisons=content.comparisons,
            view=content.view,
        )
        check_session(session)
    except _DAMAGE as error:
        raise BadInput(f"{name}: a damaged {what} ({_cause(error)})") from None
    return session


def write_session(session: Session, path: str | Path, previews: bool = True) -> None:
    """Write atomically: the file is always either the old one or the complete new one.

    `previews=False` leaves the previews of pictures out. Nothing is written that `read_session`
    would refuse. Raises BadInput if it cannot be written.
    """
    try:
        check_session(session)
        with replacing(path) as stream:
            written = 0
            for piece in _pieces(session, previews, check=True):
                data = piece.encode("ascii")
                written += len(data)
                if written > MAX_BYTES:
                    raise ValueError(
                        f"the limit of a session file is {MAX_BYTES:,} bytes: delete some runs"
                    )
                stream.write(data)
            stream.write(b"\n")
    except (OSError, ValueError, RuntimeError, LenscopeError) as error:
        raise BadInput(f"{storable(path)}: the session cannot be saved ({_cause(error)})") from None


def to_json(session: Session, previews: bool = True) -> str:
    """The session as ASCII JSON; numbers that are not finite become null."""
    return "".join(_pieces(session, previews, check=False))


def run_to_json(run: Run, previews: bool = True) -> str:
    """One run as ASCII JSON, as in a session file; `previews=False` leaves the preview of its
    picture out."""
    run = run if previews else _without_preview(run)
    written = msgspec.to_builtins(run)
    written["readings"] = [_reading_json(each) for each in run.readings if each.worth_keeping]
    return _dumped(written)


def part_to_json(value: Any) -> str:
    """The value of any field of a record as ASCII JSON, as in a session file."""
    if isinstance(value, tuple) and value and isinstance(value[0], Reading):
        return _dumped([_reading_json(each) for each in value])
    return _dumped(msgspec.to_builtins(value))


def run_from_json(data: bytes | Raw) -> Run:
    """Read and check a run of a session file. Raises ValueError or BadInput, in one line."""
    if memoryview(data).nbytes > MAX_STORED_RUN_BYTES:
        raise ValueError(
            f"a run of {memoryview(data).nbytes:,} bytes; the limit is {MAX_STORED_RUN_BYTES:,}"
        )
    stored = _RUN.decode(data)
    readings = tuple(_reading(stored.id, raw) for raw in stored.readings)
    fields = {name: getattr(stored, name) for name in Run.__struct_fields__}
    run = Run(**{**fields, "readings": readings, "formation": None})
    if stored.formation is not UNSET:
        run = structs.replace(run, formation=stored.formation)
    elif run.status == "done":
        run = structs.replace(run, formation=formation_row(run.rows))
    _check_run(run)
    return run


def run_size(run: Run) -> int:
    """At least how many bytes a run takes in a session file: exactly as many if it has only ASCII
    text, at most six times as many otherwise. Much quicker than writing it."""
    return len(_quick_json(run))


def check_can_be_kept(run: Run) -> None:
    """Check, before a run or a reading is added to a session, that the session could be saved with
    it and opened again. Raises BadInput, which says why not, without naming the run."""
    data = _quick_json(run)
    if len(data) * _WORST_GROWTH > MAX_RUN_BYTES:
        data = run_to_json(run).encode("ascii")
    if len(data) > MAX_RUN_BYTES:
        raise BadInput(f"it takes {len(data):,} bytes; the limit of a run is {MAX_RUN_BYTES:,}")
    try:
        run_from_json(data)
    except _DAMAGE as error:
        raise BadInput(f"it could not be read again ({_cause(error)})") from None


_WORST_GROWTH: Final = 3
"""How much longer text becomes in ASCII JSON: two bytes of UTF-8 become six characters."""


def _quick_json(run: Run) -> bytes:
    kept = tuple(reading for reading in run.readings if reading.worth_keeping)
    try:
        return msgspec.json.encode(structs.replace(run, readings=kept))
    except (UnicodeEncodeError, TypeError, OverflowError):
        # Lone surrogates, of file names, and readings of methods that this version does not have.
        return run_to_json(run).encode("ascii")


def _cause(error: Exception) -> str:
    """What is wrong with a file, in one line: messages of the decoder may quote all of a value."""
    line = " ".join(reason_of(error).split())
    return line if len(line) <= _MOST_OF_A_CAUSE else f"{line[:100]} … {line[-100:]}"


def _version_of(data: bytes) -> int | None:
    """The version of a session file; None if it is JSON, but no session.

    Raises msgspec.DecodeError or RecursionError for what is no JSON, ValueError where the version
    is missing.
    """
    try:
        head = msgspec.json.decode(data, type=_Head)
    except msgspec.ValidationError:
        if data.lstrip()[:1] == b"{":  # a number that is too large
            raise
        return None
    if head.format != FORMAT:
        return None
    version = head.version
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise ValueError("no version")
    return version


def _numbered_run(number: int, raw: Raw) -> Run:
    try:
        return run_from_json(raw)
    except msgspec.ValidationError as error:
        raise ValueError(f"run {number}: {error}") from None


def _pieces(session: Session, previews: bool, *, check: bool) -> Iterator[str]:
    """The session as ASCII JSON, a run at a time: all of a long one would take much memory."""
    head = {
        "format": session.format,
        "version": session.version,
        "created": session.created,
        "saved": session.saved,
    }
    yield _dumped(head)[:-1] + ', "runs": ['
    for index, run in enumerate(session.runs):
        text = run_to_json(run, previews)
        if check:
            run_from_json(text.encode("ascii"))
        yield (", " if index else "") + text
    yield '], "comparisons": ' + _dumped(msgspec.to_builtins(session.comparisons))
    yield ', "view": ' + _dumped(msgspec.to_builtins(session.view)) + "}"


def _dumped(builtins: Any) -> str:
    return json.dumps(_json_value(builtins), allow_nan=False, ensure_ascii=True)


def _reading(run_id: str, data: Raw) -> Reading:
    """One reading; it is kept as raw data if this version does not have its method."""
    raw = msgspec.json.decode(data)
    if not isinstance(raw, dict) or not isinstance(raw.get("method"), str):
        raise ValueError(f"run {run_id}: it has a reading without a method")
    if _deeper_than(raw, MAX_DEPTH):
        raise ValueError(f"run {run_id}: its readings are nested too deeply")
    if not is_known(raw["method"]):
        return UnknownReading(request=Request(), raw=raw)
    method = method_of(raw["method"])
    try:
        reading: Reading = msgspec.convert(raw, method.reading, str_keys=True)
    except msgspec.ValidationError as error:
        raise ValueError(f"run {run_id}, reading {raw['method']}: {error}") from None
    return reading


def reading_to_json(reading: Reading) -> str:
    """One reading as ASCII JSON, as in a session file."""
    return _dumped(_reading_json(reading))


def _reading_json(reading: Reading) -> Any:
    if isinstance(reading, UnknownReading):
        return reading.raw
    return msgspec.to_builtins(reading)


def _without_preview(run: Run) -> Run:
    picture = run.question.picture
    if picture is None:
        return run
    bare: Picture = structs.replace(picture, preview=None)
    return structs.replace(run, question=structs.replace(run.question, picture=bare))


def _json_value(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()  # file names may not be valid Unicode
    if isinstance(value, dict):
        return {
            key: _json_value(item)
            for key, item in value.items()
            if not (key == "approximate" and item is None)
        }
    if isinstance(value, (list, tuple)):
        return [_json_value(item) for item in value]
    return value


def check_session(session: Session) -> None:
    """Check what concerns several runs, and the view. Raises ValueError."""
    ids = {run.id for run in session.runs}
    if len(ids) != len(session.runs):
        raise ValueError("two runs have the same id")
    for comparison in session.comparisons:
        if not {comparison.of, comparison.against} <= ids:
            raise ValueError(f"comparison {comparison.id} is of runs that the file does not have")
        if len(comparison.rows) > MOST_LAYERS + 1:
            raise ValueError(f"comparison {comparison.id} has {len(comparison.rows):,} rows")
    if _deeper_than(session.view, MAX_DEPTH):
        raise ValueError("its view is nested too deeply")
    if len(_dumped(session.view)) > _MOST_VIEW_BYTES:
        raise ValueError("its view is too large")


def _check_run(run: Run) -> None:
    counterfactual = run.question.counterfactual
    if counterfactual is not None and _deeper_than(counterfactual.parameters, MAX_DEPTH):
        raise ValueError(f"run {run.id}: its counterfactual is nested too deeply")
    if counterfactual is not None and len(_dumped(counterfactual.parameters)) > MOST_SHORT:
        raise ValueError(f"run {run.id}: the parameters of its counterfactual are too large")
    if run.position >= max(1, len(run.tokens)):
        raise ValueError(f"run {run.id}: position {run.position} of {len(run.tokens)} tokens")
    last = max((other.position for other in run.others), default=0)
    if last > max(0, last_position(run)):
        raise ValueError(f"run {run.id}: position {last} of {last_position(run) + 1} tokens")
    if run.status == "done" and run.proof is None:
        raise ValueError(f"run {run.id}: it is done but has no proof")
    if run.formation is not None and run.formation >= len(run.rows):
        raise ValueError(
            f"run {run.id}: its formation row is {run.formation}, but it has {len(run.rows)} rows"
        )
    for reading in run.readings:
        for array in arrays_in(reading):
            _check_array(run.id, reading.method, array)
        misfit = reading.misfit(run)
        if misfit is not None:
            raise ValueError(f"run {run.id}, reading {reading.method}: {misfit}")
    _check_rows(run.id, run, run.layers, run.status == "done")
    for other in run.others:
        _check_rows(run.id, other, run.layers, done=False)


def _check_array(run_id: str, method: str, array: Array) -> None:
    try:
        _ = array.content
    except BadInput as error:
        raise ValueError(f"run {run_id}, reading {method}: {error}") from None


def _check_rows(run_id: str, read: Run | OtherPosition, layers: int, done: bool) -> None:
    rows = [row.layer for row in read.rows]
    if rows != list(range(len(rows))) or len(rows) > layers + 1:
        raise ValueError(f"run {run_id}: its rows are not 0 to {layers}")
    if done and len(rows) != layers + 1:
        raise ValueError(f"run {run_id}: it is done but has {len(rows)} of {layers + 1} rows")
    for tracked in read.tracked:
        lengths = {len(tracked.probability), len(tracked.logit), len(tracked.rank)}
        if lengths != {len(rows)}:
            raise ValueError(f"run {run_id}: token {tracked.id} is not tracked through all rows")


def _deeper_than(value: Any, limit: int) -> bool:
    level = [value]
    for _ in range(limit):
        level = [
            item
            for container in level
            if isinstance(container, (dict, list))
            for item in (container.values() if isinstance(container, dict) else container)
        ]
        if not level:
            return False
    return True
