"""How data lie in a page: as JSON in script elements that no browser runs.

Nothing in them can end the element or begin another one, whatever the session holds.
"""

from __future__ import annotations

import base64
import binascii
import gzip
import json
import math
import re
import zlib
from typing import Any, Final

_ESCAPES: Final = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"}
_ELEMENT: Final = re.compile(
    rb'<script\b[^<>]{0,200}?\bid="(lenscope-[a-z]{1,10}(?:-\d{1,6})?)"[^<>]{0,200}>([^<]*)</script>'
)


def element(name: str, value: Any) -> str:
    """Return a value as JSON in a script element with this id."""
    text = as_json(value)
    for sign, escape in _ESCAPES.items():
        text = text.replace(sign, escape)
    return f'<script type="application/json" id="{name}">{text}</script>\n'


def as_json(value: Any) -> str:
    """Return a value as ASCII JSON: numbers that are not finite become null, and what of a text is
    no Unicode is replaced."""
    return json.dumps(_storable(value), allow_nan=False, ensure_ascii=True, separators=(",", ":"))


def _storable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {_storable(key): _storable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_storable(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def elements_in(page: bytes) -> dict[str, bytes]:
    """Return the JSON in the script elements of a page, by their ids; the first of each."""
    found: dict[str, bytes] = {}
    for match in _ELEMENT.finditer(page):
        found.setdefault(match[1].decode("ascii"), match[2])
    return found


def packed(data: bytes) -> str:
    """Return bytes as the base64 of a gzip stream; the same bytes always give the same text."""
    return base64.b64encode(gzip.compress(data, 9, mtime=0)).decode("ascii")


def unpacked(text: str, size: int) -> bytes:
    """Return the bytes of `packed`. Raises ValueError unless they are exactly `size` many; no more
    is ever inflated."""
    try:
        stream = zlib.decompressobj(wbits=31)
        data = stream.decompress(base64.b64decode(text, validate=True), size + 1)
    except (binascii.Error, zlib.error) as error:
        raise ValueError(str(error)) from None
    if len(data) != size or not stream.eof:
        raise ValueError(f"it does not hold the {size:,} bytes that it names")
    return data
