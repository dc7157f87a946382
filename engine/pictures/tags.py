"""The tags of a TIFF file or of EXIF data, read where they are: nothing is copied that is not asked
for, however large a tag says that it is."""

from __future__ import annotations

import struct
from dataclasses import dataclass

_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_SIZES |= {16: 8, 17: 8, 18: 8}
"""Bytes of a value, by the number of its type; the last three are BigTIFF's."""
_WHOLE_NUMBERS = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}

MOST_TAGS = 65_535
"""As many as a TIFF can have; a BigTIFF may say that it has more."""

SUBFILE_TYPE, PHOTOMETRIC, SUB_IFDS = 254, 262, 330
BITS_PER_SAMPLE, COMPRESSION, SAMPLE_FORMAT = 258, 259, 339
DNG_VERSION = 50706


@dataclass(frozen=True)
class _Entry:
    kind: int
    count: int
    place: int
    """Where its values are in the data."""

    @property
    def size(self) -> int:
        return self.count * _SIZES.get(self.kind, 0)


class Tags:
    """One directory of tags."""

    def __init__(self, data: bytes, order: str, big: bool, place: int) -> None:
        """Raises struct.error where the data end before the directory does."""
        if place > len(data):  # before a number too large for an index is used as one
            raise struct.error("the directory is not in the data")
        self._data, self._order, self._big = data, order, big
        self._entries: dict[int, _Entry] = {}
        (self.listed,) = struct.unpack_from(f"{order}{'Q' if big else 'H'}", data, place)
        layout, step, inside = (f"{order}HHQ", 20, 8) if big else (f"{order}HHI", 12, 4)
        place += 8 if big else 2
        last = min(place + min(self.listed, MOST_TAGS) * step, len(data))
        for start in range(place, last, step):
            tag, kind, values = struct.unpack_from(layout, data, start)
            found = start + step - inside
            if values * _SIZES.get(kind, 0) > inside:
                (found,) = struct.unpack_from(f"{order}{'Q' if big else 'I'}", data, found)
            self._entries.setdefault(tag, _Entry(kind, values, found))

    def __contains__(self, tag: int) -> bool:
        return tag in self._entries

    def numbers(self, tag: int, most: int = 16) -> tuple[int, ...]:
        """The first whole numbers of a tag; none where it is absent, or of another kind."""
        entry = self._entries.get(tag)
        letter = _WHOLE_NUMBERS.get(entry.kind) if entry is not None else None
        if entry is None or letter is None or entry.place > len(self._data):
            return ()
        try:
            return struct.unpack_from(
                f"{self._order}{min(entry.count, most)}{letter}", self._data, entry.place
            )
        except struct.error:
            return ()

    def directories(self, tag: int) -> tuple[Tags, ...]:
        """The directories to which a tag points."""
        found: list[Tags] = []
        for place in self.numbers(tag):
            try:
                found.append(Tags(self._data, self._order, self._big, place))
            except struct.error:
                continue
        return tuple(found)

    @property
    def claimed(self) -> int:
        """How many bytes of the data its values take, counted as often as they are named."""
        within = (e.size for e in self._entries.values() if e.place + e.size <= len(self._data))
        return sum(within)


def tags_of(data: bytes) -> Tags | None:
    """The first directory of a TIFF file or of EXIF data; None where the data are neither."""
    order = {b"II": "<", b"MM": ">"}.get(bytes(data[:2]))
    if order is None:
        return None
    try:
        (version,) = struct.unpack_from(f"{order}H", data, 2)
        big = version == 43
        (place,) = struct.unpack_from(f"{order}{'Q' if big else 'I'}", data, 8 if big else 4)
        return Tags(data, order, big, place)
    except struct.error:
        return None
