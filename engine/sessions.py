"""Session files: read with checks of every type and size, written atomically."""

from __future__ import annotations

import contextlib
import json
import math
import os
import secrets
from pathlib import Path
from typing import Any

import msgspec
from msgspec import structs

from engine.errors import BadInput
from engine.records import Picture, Run, Session

FORMAT = "lenscope-session"
VERSION = 1
MAX_BYTES = 64 * 2**20


def read_session(path: str | Path) -> Session:
    """Read and check a session file; the file is left as it is.

    Raises BadInput, naming the file and what is wrong: not there, too large, damaged, of another
    format, of a newer version.
    """
    name = str(path)
    try:
        file = Path(path).expanduser()
        if file.is_file() and file.stat().st_size > MAX_BYTES:
            raise BadInput(
                f"{name}: {file.stat().st_size:,} bytes; a session file has at most {MAX_BYTES:,}"
            )
        data = file.read_bytes()
    except FileNotFoundError:
        raise BadInput(f"{name}: no such session file") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise BadInput(f"{name}: the session cannot be read ({reason})") from None
    try:
        head = msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise BadInput(f"{name}: a damaged session file ({error})") from None
    if not isinstance(head, dict) or head.get("format") != FORMAT:
        raise BadInput(f"{name}: not a Lenscope session")
    version = head.get("version")
    if isinstance(version, int) and not isinstance(version, bool) and version > VERSION:
        raise BadInput(
            f"{name}: written by a newer Lenscope (format version {version}); update to open it"
        )
    try:
        session = msgspec.convert(head, Session)
        for run in session.runs:
            _check(run)
    except (msgspec.ValidationError, RecursionError, ValueError) as error:
        raise BadInput(f"{name}: a damaged session file ({error})") from None
    return session


def write_session(session: Session, path: str | Path, previews: bool = True) -> None:
    """Write atomically: the file is either the old one or the whole new one.

    `previews=False` leaves the pictures' previews out. Raises BadInput where it cannot be written.
    """
    name = str(path)
    file = Path(path).expanduser()
    # A rename over a symbolic link would replace the link, not the file behind it.
    file = file.resolve()
    temporary = file.with_name(f".{file.name}.{secrets.token_hex(4)}.tmp")
    try:
        text = to_json(session, previews)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        with os.fdopen(descriptor, "w", encoding="ascii") as stream:
            stream.write(text)
            stream.write("\n")
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(file)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise BadInput(f"{name}: the session cannot be saved ({reason})") from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def to_json(session: Session, previews: bool = True) -> str:
    """The session as ASCII JSON; numbers that are not finite are null."""
    if not previews:
        session = structs.replace(
            session, runs=tuple(_without_preview(run) for run in session.runs)
        )
    content = _finite(msgspec.to_builtins(session))
    content = {"format": content.pop("format"), "version": content.pop("version"), **content}
    return json.dumps(content, allow_nan=False, ensure_ascii=True)


def _without_preview(run: Run) -> Run:
    picture = run.question.picture
    if picture is None:
        return run
    bare: Picture = structs.replace(picture, preview=None)
    return structs.replace(run, question=structs.replace(run.question, picture=bare))


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {
            key: _finite(item)
            for key, item in value.items()
            if not (key == "approximate" and item is None)
        }
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value


def _check(run: Run) -> None:
    """What types alone cannot say."""
    if run.tokens and run.position >= len(run.tokens):
        raise ValueError(f"run {run.id}: position {run.position} of {len(run.tokens)} tokens")
    expected = run.layers + 1
    if [row.layer for row in run.rows] != list(range(len(run.rows))) or len(run.rows) > expected:
        raise ValueError(f"run {run.id}: its rows are not 0 to {run.layers}")
    if run.status == "done" and len(run.rows) != expected:
        raise ValueError(f"run {run.id}: done with {len(run.rows)} of {expected} rows")
    for tracked in run.tracked:
        lengths = {len(tracked.probability), len(tracked.logit), len(tracked.rank)}
        if lengths != {len(run.rows)}:
            raise ValueError(f"run {run.id}: token {tracked.id} is not tracked through all rows")
