"""Session files: every type and size is checked on reading; writing is atomic."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import structs

from engine.errors import BadInput, LenscopeError
from engine.methods.registry import is_known, method_of
from engine.records import (
    OtherPosition,
    Picture,
    Reading,
    Request,
    Run,
    Session,
    UnknownReading,
)
from engine.stays import formation_row
from engine.system.files import read_file, reason_of, storable, write_file

FORMAT = "lenscope-session"
VERSION = 1
MAX_BYTES = 64 * 2**20
MAX_DEPTH = 100


def read_session(path: str | Path) -> Session:
    """Read and check a session file, without changing it.

    Raises BadInput, with the name of the file, if it is missing, too large, damaged, of another
    format or of a newer version.
    """
    name = storable(path)
    data = read_file(path, "session file", MAX_BYTES)
    try:
        head = msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise BadInput(f"{name}: a damaged session file ({error})") from None
    if not isinstance(head, dict) or head.get("format") != FORMAT:
        raise BadInput(f"{name}: not a Lenscope session")
    version = head.get("version")
    if not isinstance(version, int) or isinstance(version, bool):
        raise BadInput(f"{name}: a damaged session file (no version)")
    if version > VERSION:
        raise BadInput(
            f"{name}: written by a newer Lenscope (format version {version}); update to open it"
        )
    try:
        readings = _taken_readings(head)
        session = msgspec.convert(head, Session)
        session = _with_readings(session, readings)
        _check_session(session)
        session = _with_formations(session, head["runs"] if session.runs else [])
    except (msgspec.ValidationError, RecursionError, ValueError, LenscopeError) as error:
        raise BadInput(f"{name}: a damaged session file ({error})") from None
    return session


def write_session(session: Session, path: str | Path, previews: bool = True) -> None:
    """Write atomically: the file is always either the old one or the complete new one.

    `previews=False` leaves the previews of pictures out. Raises BadInput if it cannot be written.
    """
    try:
        write_file(path, (to_json(session, previews) + "\n").encode("ascii"))
    except (OSError, ValueError, RuntimeError) as error:
        raise BadInput(
            f"{storable(path)}: the session cannot be saved ({reason_of(error)})"
        ) from None


def to_json(session: Session, previews: bool = True) -> str:
    """The session as ASCII JSON; numbers that are not finite become null."""
    if not previews:
        session = structs.replace(
            session, runs=tuple(_without_preview(run) for run in session.runs)
        )
    builtins = msgspec.to_builtins(session)
    for run, written in zip(session.runs, builtins["runs"], strict=True):
        written["readings"] = [_reading_json(each) for each in run.readings if each.worth_keeping]
    content = _json_value(builtins)
    content = {"format": content.pop("format"), "version": content.pop("version"), **content}
    return json.dumps(content, allow_nan=False, ensure_ascii=True)


def _taken_readings(head: dict[str, Any]) -> list[list[Any]]:
    """Remove the readings from every run in `head`: their types depend on their methods."""
    runs = head.get("runs", [])
    if not isinstance(runs, list):
        return []
    taken = []
    for run in runs:
        found = run.pop("readings", []) if isinstance(run, dict) else []
        if not isinstance(found, list):
            raise ValueError("the readings of a run are not a list")
        taken.append(found)
    return taken


def _with_readings(session: Session, readings: Sequence[Sequence[Any]]) -> Session:
    runs = tuple(
        structs.replace(run, readings=tuple(_reading(run, raw) for raw in found)) if found else run
        for run, found in zip(session.runs, readings, strict=True)
    )
    return structs.replace(session, runs=runs)


def _reading(run: Run, raw: Any) -> Reading:
    """One reading; it is kept as raw data if this version does not have its method."""
    if not isinstance(raw, dict) or not isinstance(raw.get("method"), str):
        raise ValueError(f"run {run.id}: it has a reading without a method")
    if _deeper_than(raw, MAX_DEPTH):
        raise ValueError(f"run {run.id}: its readings are nested too deeply")
    if not is_known(raw["method"]):
        return UnknownReading(request=Request(), raw=raw)
    method = method_of(raw["method"])
    try:
        reading: Reading = msgspec.convert(raw, method.reading)
    except msgspec.ValidationError as error:
        raise ValueError(f"run {run.id}, reading {raw['method']}: {error}") from None
    return reading


def reading_to_json(reading: Reading) -> str:
    """One reading as ASCII JSON, as in a session file."""
    return json.dumps(_json_value(_reading_json(reading)), allow_nan=False, ensure_ascii=True)


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


def _check_session(session: Session) -> None:
    """Check what types alone cannot express. Raises ValueError."""
    ids = {run.id for run in session.runs}
    if len(ids) != len(session.runs):
        raise ValueError("two runs have the same id")
    for comparison in session.comparisons:
        if not {comparison.of, comparison.against} <= ids:
            raise ValueError(f"comparison {comparison.id} is of runs that the file does not have")
    for run in session.runs:
        _check_run(run)
    if _deeper_than(session.view, MAX_DEPTH):
        raise ValueError("its view is nested too deeply")


def _check_run(run: Run) -> None:
    counterfactual = run.question.counterfactual
    if counterfactual is not None and _deeper_than(counterfactual.parameters, MAX_DEPTH):
        raise ValueError(f"run {run.id}: its counterfactual is nested too deeply")
    positions = [run.position, *(other.position for other in run.others)]
    if any(position >= max(1, len(run.tokens)) for position in positions):
        raise ValueError(f"run {run.id}: position {max(positions)} of {len(run.tokens)} tokens")
    if run.status == "done" and run.proof is None:
        raise ValueError(f"run {run.id}: it is done but has no proof")
    if run.formation is not None and run.formation >= len(run.rows):
        raise ValueError(
            f"run {run.id}: its formation row is {run.formation}, but it has {len(run.rows)} rows"
        )
    _check_rows(run.id, run, run.layers, run.status == "done")
    for other in run.others:
        _check_rows(run.id, other, run.layers, done=False)


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


def _with_formations(session: Session, stored: list[dict[str, Any]]) -> Session:
    """The session with formation rows filled in where an older file does not have them."""
    return structs.replace(
        session,
        runs=tuple(
            run
            if "formation" in raw or run.status != "done"
            else structs.replace(run, formation=formation_row(run.rows))
            for run, raw in zip(session.runs, stored, strict=True)
        ),
    )


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
