"""How data lie in a page: as JSON in script elements that no browser runs.

Nothing in them can end the element or begin another one, whatever the session holds.
"""

from __future__ import annotations

import base64
import binascii
import gzip
import json
import re
import zlib
from typing import Any, Final

_ESCAPES: Final = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"}
_ELEMENT: Final = re.compile(
    rb'<script\b[^<>]{0,200}?\bid="(lenscope-[a-z]{1,10}(?:-\d{1,6})?)"[^<>]{0,200}>([^<]*)</script>'
)


def element(name: str, value: Any) -> str:
    """Return a value as JSON in a script element with this id. Raises ValueError for numbers that
    are not finite."""
    text = json.dumps(value, allow_nan=False, ensure_ascii=True, separators=(",", ":"))
    for sign, escape in _ESCAPES.items():
        text = text.replace(sign, escape)
    return f'<script type="application/json" id="{name}">{text}</script>\n'


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
