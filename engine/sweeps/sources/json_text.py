"""JSON as other programs write it: with byte order marks, NaN, commas too many, or line by line."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from engine.errors import BadInput
from engine.sweeps.sources.texts import MOST_BYTES, as_utf8
from engine.system.files import read_file

Decoded = TypeVar("Decoded")
ERRORS = (msgspec.DecodeError, UnicodeError, RecursionError)

# Strings come first, so that nothing inside them is taken for a number or a comma.
_ODD = re.compile(rb'"(?:[^"\\]|\\.)*+"|-?\bInfinity\b|-?\bNaN\b|,(?=\s*+[\]}])', re.DOTALL)
_BETWEEN = re.compile(r"[\s,\x1e]*+")


def json_of(file: Path, what: str) -> bytes:
    """The text of a JSON file as UTF-8. Raises BadInput; `what` names the file's kind in it."""
    return as_utf8(read_file(file, what, MOST_BYTES), file)


def decode(data: bytes, kind: type[Decoded]) -> Decoded:
    """Decode JSON into `kind`. NaN and infinities, which Python's json writes, are null; a comma
    after the last value is passed over. Raises one of `ERRORS`."""
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        mended = _ODD.sub(_mended, data)
        if mended == data:
            raise
        return msgspec.json.decode(mended, type=kind)


def keys_of(data: bytes) -> frozenset[str]:
    """The names at the top of a JSON object; none where it is not one."""
    try:
        return frozenset(decode(data, dict[str, msgspec.Raw]))
    except ERRORS:
        return frozenset()


def values_in(text: str, where: str) -> Iterator[Any]:
    """JSON values that follow one another, whatever is between them, as `jq` writes them. Raises
    BadInput where there is something else, saying `where`."""
    decoder, place, number = json.JSONDecoder(), 0, 0
    while True:
        found = _BETWEEN.match(text, place)
        place = found.end() if found else place
        if place >= len(text):
            return
        number += 1
        try:
            value, place = decoder.raw_decode(text, place)
        except (ValueError, RecursionError) as error:
            reason = "too deeply nested" if isinstance(error, RecursionError) else error.args[0]
            raise BadInput(f"{where}, value {number}: not JSON ({reason})") from None
        yield value


def _mended(found: re.Match[bytes]) -> bytes:
    text = found[0]
    if text.startswith(b'"'):
        return text
    return b"" if text == b"," else b"null"
