"""Picture files that Pillow does not write: TIFFs of any samples, and PNGs and JPEGs with parts of
their own."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Mapping
from typing import Any

from PIL import Image

SHORT, LONG, UNDEFINED = 3, 4, 7
Value = int | bytes


def plain(form: str, **options: Any) -> bytes:
    """A small picture of one colour in a format of Pillow's."""
    buffer = io.BytesIO()
    Image.new("RGB", (8, 6), (200, 30, 40)).save(buffer, form, **options)
    return buffer.getvalue()


def tiff(
    width: int,
    height: int,
    samples: bytes,
    bits: int = 8,
    kind: int = 1,
    tags: Mapping[int, Value] | None = None,
    inner: Mapping[int, Value] | None = None,
) -> bytes:
    """An uncompressed TIFF; `kind` is 1 for unsigned, 2 for signed, 3 for float samples. `tags` are
    added to its directory, and `inner` makes one below it."""
    told: dict[int, Value] = {
        256: width, 257: height, 258: bits, 259: 1, 262: 1, 277: 1, 278: height, 339: kind,
        279: len(samples), 273: 0, **(tags or {}), **({330: 0} if inner else {}),
    }  # fmt: skip
    place = 8 + _length(told)
    told[273] = place
    if inner:
        told[330] = place + len(samples)
    return b"".join(
        [
            struct.pack("<2sHI", b"II", 42, 8),
            _directory(told, 8),
            samples,
            _directory(inner, 0) if inner else b"",
        ]
    )


def _length(tags: Mapping[int, Value]) -> int:
    return (
        6
        + 12 * len(tags)
        + sum(len(v) for v in tags.values() if isinstance(v, bytes) and len(v) > 4)
    )


def _directory(tags: Mapping[int, Value], place: int) -> bytes:
    entries, tail = [], b""
    behind = place + 6 + 12 * len(tags)
    for tag, value in sorted(tags.items()):
        if isinstance(value, bytes):
            entries.append(
                struct.pack("<HHII", tag, UNDEFINED, len(value), behind + len(tail))
                if len(value) > 4
                else struct.pack("<HHI4s", tag, 1, len(value), value)
            )
            tail += value if len(value) > 4 else b""
        else:
            entries.append(struct.pack("<HHII", tag, LONG, 1, value))
    return struct.pack("<H", len(tags)) + b"".join(entries) + bytes(4) + tail


def repeating_tags(count: int, size: int) -> bytes:
    """EXIF data, or a TIFF, whose tags all name the same bytes."""
    entries = (struct.pack("<HHII", 1000 + tag, UNDEFINED, size, 0) for tag in range(count))
    data = struct.pack("<2sHIH", b"II", 42, 8, count) + b"".join(entries) + bytes(4)
    return data + bytes(max(0, size - len(data)))


def chunk(kind: bytes, content: bytes) -> bytes:
    """A chunk of a PNG."""
    check = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + check


def png_with(*chunks: bytes) -> bytes:
    """A PNG with more chunks after its header."""
    data = plain("PNG")
    return data[:33] + b"".join(chunks) + data[33:]


def segment(marker: int, content: bytes) -> bytes:
    """A segment of a JPEG."""
    return bytes((0xFF, marker)) + struct.pack(">H", len(content) + 2) + content


def jpeg_with(*segments: bytes) -> bytes:
    """A JPEG with more segments at its beginning."""
    data = plain("JPEG")
    return data[:2] + b"".join(segments) + data[2:]
