"""What a cell of the picture column holds: a file's name, the picture itself, or neither."""

from __future__ import annotations

import ast
import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from engine.pictures.opening import MAX_BYTES
from engine.sweeps.sources.contents import is_picture

LONGEST_NAME: Final = 8192
"""Characters of a file name; a longer text is no name."""
LONGEST_LITERAL: Final = 2**22
"""Characters of a record or list that is written as Python does."""
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*://")
_DATA_URL = re.compile(r"data:[^,]{0,200}?(;base64)?,", re.IGNORECASE)


class Embedded:
    """Stands for the bytes of a picture that is in the data and has not been read."""


@dataclass(frozen=True)
class Cell:
    """A picture cell, understood."""

    name: str = ""
    """The file name or address that it holds, as it is written."""
    data: bytes | None = None
    """The picture, if the cell holds it."""
    embedded: bool = False
    """Whether the cell holds the picture, read or not."""
    address: bool = False
    """Whether the name is an address, which is not opened."""
    several: int = 0
    """How many pictures it holds, where they are several."""
    odd: str = ""
    """What it holds, in words, where that is neither a picture nor a name."""


def cell_of(value: Any) -> Cell:
    """Understand a cell: bytes, `{bytes, path}`, a name, base64, a `data:` or `file:` address, or a
    list with one of these."""
    if isinstance(value, Embedded):
        return Cell(embedded=True)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return Cell(data=bytes(value), embedded=True) if value else Cell()
    if isinstance(value, Mapping):
        return _of_record(value)
    if isinstance(value, (list, tuple)):
        return _of_list(value)
    if isinstance(value, str):
        return _of_text(value)
    if isinstance(value, bool):
        return Cell(odd="truth values")
    if isinstance(value, int):
        return Cell(name=str(value))
    if value is None or value != value:
        return Cell()
    return Cell(odd="numbers" if isinstance(value, float) else f"{type(value).__name__} values")


def _of_record(value: Mapping[str, Any]) -> Cell:
    held = value.get("bytes")
    if isinstance(held, (bytes, bytearray, memoryview, Embedded)):
        found = cell_of(held)
        if found.embedded:
            return found
    if isinstance(held, str) and held:
        return _of_base64(held) or Cell(odd="text where a picture's bytes should be")
    for name in ("path", "file_name", "filename", "url", "src", "image"):
        if isinstance(value.get(name), str) and value[name]:
            return _of_text(value[name])
    return Cell() if "bytes" in value or not value else Cell(odd="records without bytes or path")


def _of_list(value: list[Any] | tuple[Any, ...]) -> Cell:
    found = [each for each in value if each is not None and each != ""]
    if not found:
        return Cell()
    if isinstance(found[0], (list, tuple, float)) or (isinstance(found[0], int) and len(found) > 1):
        return Cell(odd="arrays of numbers")
    return cell_of(found[0]) if len(found) == 1 else Cell(several=len(found))


def _of_text(text: str) -> Cell:
    bare = text.strip()
    if not bare:
        return Cell()
    url = _DATA_URL.match(bare[:300])
    if url is not None:
        return (url[1] and _of_base64(bare[url.end() :])) or Cell(
            odd="`data:` addresses that are not base64"
        )
    if bare[:5].lower() == "file:":
        return _of_file_url(bare)
    if _ADDRESS.match(bare[:40]):
        return Cell(name=bare, address=True)
    embedded = _of_base64(bare) if len(bare) >= 16 and _looks_embedded(bare) else None
    if embedded is not None:
        return embedded
    if bare[0] + bare[-1] in ("{}", "[]") and len(bare) <= LONGEST_LITERAL:
        # A record or list as CSV files of `datasets` and pandas have them.
        try:
            return cell_of(ast.literal_eval(bare))
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            pass
    if len(bare) > LONGEST_NAME:
        return Cell(odd="long texts that are no file names, nor base64 of a picture")
    return Cell(name=text)


def _of_file_url(text: str) -> Cell:
    try:
        parts = urlsplit(text)
    except ValueError:
        return Cell(name=text, address=True)
    if parts.netloc not in ("", "localhost"):
        return Cell(name=text, address=True)
    return Cell(name=unquote(parts.path))


def _looks_embedded(text: str) -> bool:
    """Whether a text is a picture's base64: its first characters decode to a picture's first bytes.
    (`/9j/4AAQ` could be a path, but is how every JPEG begins.)"""
    try:
        beginning = base64.b64decode(re.sub(r"\s+", "", text[:96])[:64])
    except (binascii.Error, ValueError):
        return False
    return is_picture(beginning)


def _of_base64(text: str) -> Cell | None:
    """The picture that a text is the base64 of; None where it is not base64."""
    if len(text) > MAX_BYTES * 4 // 3 + 4:
        return Cell(odd="base64 of more than a picture may have")
    compact = re.sub(r"\s+", "", text).translate(str.maketrans("-_", "+/"))
    try:
        data = base64.b64decode(compact + "=" * (-len(compact) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None
    return Cell(data=data, embedded=True) if data else None
