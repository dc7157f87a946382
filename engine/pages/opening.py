"""The session that a page holds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct

from engine.errors import BadInput
from engine.pages.packing import elements_in, unpacked
from engine.pages.page import FORMAT, HEAD, MOST_RUNS, VERSION
from engine.records import Session
from engine.sessions import MAX_BYTES, MAX_STORED_RUN_BYTES, read_session, session_from_json
from engine.system.files import read_file, storable

_BEGINS: Final = 64
"""A session is JSON, a page begins with a "<" among its first bytes."""


class _Entry(Struct):
    """What a page says of a run that it holds."""

    bytes: Annotated[int, Meta(ge=0, le=MAX_STORED_RUN_BYTES)]


class _Content(Struct):
    """Everything of a page but its runs, as far as the session needs it."""

    format: str
    version: Annotated[int, Meta(ge=1)]
    session: dict[str, Any]
    runs: Annotated[tuple[_Entry, ...], Meta(max_length=MOST_RUNS)]


def is_page(path: str | Path) -> bool:
    """Whether a file looks like a page rather than a session; False if it cannot be read."""
    try:
        with Path(path).expanduser().open("rb") as stream:
            return stream.read(_BEGINS).lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"<"
    except (OSError, ValueError, RuntimeError):
        return False


def open_session(path: str | Path) -> Session:
    """Read a session, from its own file or from a page. Raises BadInput, in one line."""
    return read_page(path) if is_page(path) else read_session(path)


def read_page(path: str | Path) -> Session:
    """Read and check the session in a page, without changing it.

    Raises BadInput, with the name of the file, if it is missing, too large, damaged, no page of
    Lenscope's or of a newer version.
    """
    name = storable(path)
    found = elements_in(read_file(path, "page", MAX_BYTES))
    if HEAD not in found:
        raise BadInput(f"{name}: a page, but not one that Lenscope has written")
    try:
        content = msgspec.json.decode(found[HEAD], type=_Content)
        if content.format != FORMAT:
            raise BadInput(f"{name}: a page, but not one that Lenscope has written")
        if content.version > VERSION:
            raise BadInput(
                f"{name}: written by a newer Lenscope (page version {content.version}); update to "
                "open it"
            )
        if sum(entry.bytes for entry in content.runs) > MAX_BYTES:
            raise ValueError(f"its runs take more than {MAX_BYTES:,} bytes")
        runs = [_run(found, index, entry) for index, entry in enumerate(content.runs)]
        data = msgspec.json.encode({**content.session, "runs": [msgspec.Raw(run) for run in runs]})
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise BadInput(f"{name}: a damaged page ({' '.join(str(error).split())[:300]})") from None
    return session_from_json(data, name, "page")


def _run(found: dict[str, bytes], index: int, entry: _Entry) -> bytes:
    data = found.get(f"lenscope-run-{index}")
    if data is None:
        raise ValueError(f"run {index + 1} is missing")
    try:
        return unpacked(msgspec.json.decode(data, type=str), entry.bytes)
    except ValueError as error:
        raise ValueError(f"run {index + 1}: {error}") from None
