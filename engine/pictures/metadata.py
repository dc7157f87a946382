"""Takes out of a picture file what does not show and would cost too much: texts, profiles and
comments that unpack to megabytes, tags that name the same bytes again and again.

Its pixels are as good without them, and Pillow either refuses such a file or reads all of it.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator

from engine.errors import BadInput
from engine.pictures.tags import MOST_TAGS, tags_of

MOST_OF_ONE = 2**20
"""Bytes of one text or profile, unpacked: Pillow refuses a PNG with more."""
MOST_TOGETHER = 16 * 2**20
MOST_KEPT = 10_000
"""Texts, profiles and comments that are left in a file."""
MOST_PARTS = 1_000_000
"""Chunks or segments of a file: reading more takes seconds."""
MOST_SCANS = 1000
"""Of a progressive JPEG: each is a pass over all of its pixels. Encoders write about ten."""

PNG = b"\x89PNG\r\n\x1a\n"
JPEG = b"\xff\xd8\xff"
JP2 = b"\x00\x00\x00\x0cjP  \r\n\x87\n"

_ANCILLARY = 0x20
"""The bit of a chunk type's first letter that says that pixels can do without it."""
_OF_PIXELS = frozenset({b"tRNS", b"acTL", b"fcTL", b"fdAT"})
"""Transparency, and the frames of animations."""
_EXIF = b"Exif\0\0"
_START_OF_SCAN, _END_OF_IMAGE = 0xDA, b"\xff\xd9"
_WITHOUT_LENGTH = frozenset({0x00, 0x01, *range(0xD0, 0xD9)})
_BEFORE_MARKER = re.compile(rb"[^\xff]*\xff*(?=\xff)")


def lean(data: bytes) -> bytes:
    """The file without metadata that are too large; the very same bytes where there are none.

    Raises BadInput where the file is built to take for ever.
    """
    if data.startswith(PNG):
        return _kept(data, _large_in_png(data))
    if data.startswith(JPEG):
        return _kept(data, _large_in_jpeg(data))
    if data.startswith(JP2):
        _refuse_late_header(data)
    elif data[:2] in (b"II", b"MM") and _repeats(data):
        raise BadInput("a damaged picture (its tags name the same bytes again and again)")
    return data


def _kept(data: bytes, dropped: Iterator[tuple[int, int]]) -> bytes:
    parts: list[memoryview] = []
    view, kept = memoryview(data), 0
    for start, end in dropped:
        if start > kept:
            parts.append(view[kept:start])
        kept = end
    return b"".join([*parts, view[kept:]]) if kept else data


def _large_in_png(data: bytes) -> Iterator[tuple[int, int]]:
    """Where the chunks are that are dropped."""
    count = together = 0
    for start, kind, end in _chunks(data):
        if not kind[0] & _ANCILLARY or kind in _OF_PIXELS:
            continue
        count += 1
        if count > MOST_KEPT or together > MOST_TOGETHER:
            yield start, end
            continue
        size = _unpacked(data, kind, start + 8, end - 4)
        together += size
        if size > MOST_OF_ONE:
            yield start, end


def _chunks(data: bytes) -> Iterator[tuple[int, bytes, int]]:
    """Start, type and end of each whole chunk of a PNG."""
    start, count = len(PNG), 0
    while start + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, start)
        end = start + 12 + length
        if end > len(data) or kind == b"IEND":
            return
        count += 1
        if count > MOST_PARTS:
            raise BadInput(f"a damaged picture (more than {MOST_PARTS:,} chunks)")
        yield start, kind, end
        start = end


def _unpacked(data: bytes, kind: bytes, start: int, end: int) -> int:
    """How large the metadata of a chunk are, in bytes; what repeats itself is too large."""
    if kind == b"eXIf":
        return MOST_OF_ONE + 1 if _repeats(data[start:end]) else min(end - start, MOST_OF_ONE)
    if kind in (b"zTXt", b"iCCP"):
        return _inflated(data, data.find(b"\0", start, end) + 2, end)
    if kind == b"iTXt":
        keyword = data.find(b"\0", start, end)
        if data[keyword + 1 : keyword + 2] != b"\1":  # is not compressed
            return end - start
        language = data.find(b"\0", keyword + 3, end)
        translated = data.find(b"\0", language + 1, end)
        return _inflated(data, translated + 1, end)
    return end - start


def _inflated(data: bytes, start: int, end: int) -> int:
    unpacking = zlib.decompressobj()
    try:
        unpacked = unpacking.decompress(memoryview(data)[start:end], MOST_OF_ONE + 1)
    except zlib.error:
        return end - start  # for Pillow to judge
    return len(unpacked)


def _large_in_jpeg(data: bytes) -> Iterator[tuple[int, int]]:
    """Where the segments are that are dropped, up to the first scan."""
    place, count, metadata, exif, together = 2, 0, 0, 0, 0
    while junk := _BEFORE_MARKER.match(data, place):  # Pillow would read it byte by byte
        if junk.end() > place:
            yield place, junk.end()
        place = junk.end()
        marker = data[place + 1] if place + 1 < len(data) else 0
        count += 1
        if count > MOST_PARTS:
            raise BadInput(f"a damaged picture (more than {MOST_PARTS:,} segments)")
        if marker in _WITHOUT_LENGTH:
            place += 2
            continue
        if marker == _START_OF_SCAN:
            _refuse_many_scans(data, place)
            return
        if place + 4 > len(data):
            return
        (length,) = struct.unpack_from(">H", data, place + 2)
        end = place + 2 + length
        if marker == 0xFE or (0xE1 <= marker <= 0xEF and marker != 0xEE):
            body = data[place + 4 : end]
            is_exif = body.startswith(_EXIF)
            metadata += 1
            too_much = (
                metadata > MOST_KEPT
                or together + length > MOST_TOGETHER
                or (is_exif and (exif + length > MOST_OF_ONE or _repeats(body[len(_EXIF) :])))
            )
            if too_much:
                yield place, end
            else:
                together += length
                exif += length if is_exif else 0
        place = end


def _refuse_many_scans(data: bytes, first: int) -> None:
    last = data.find(_END_OF_IMAGE, first)
    scans = data.count(bytes((0xFF, _START_OF_SCAN)), first, last if last > 0 else len(data))
    if scans > MOST_SCANS:
        raise BadInput(f"a damaged picture ({scans:,} scans; the limit is {MOST_SCANS:,})")


def _refuse_late_header(data: bytes) -> None:
    """Raise BadInput where Pillow would look through thousands of boxes for a JPEG 2000's header;
    it belongs to the beginning."""
    place = data.find(b"jp2h", 0, MOST_OF_ONE)
    length = struct.unpack_from(">I", data, place - 4)[0] if place >= 4 else 0
    if place < 4 or length > MOST_TOGETHER:
        raise BadInput("a damaged picture (no JPEG 2000 header at its beginning)")


def _repeats(data: bytes) -> bool:
    """Whether tags claim far more bytes than there are: they name the same ones many times."""
    tags = tags_of(data)
    return tags is not None and (tags.listed > MOST_TAGS or tags.claimed > len(data) + MOST_OF_ONE)
