"""Arrays in records: little-endian numbers as base64, checked before anything is decoded.

A record holds an `Array`; numpy is imported only when one is made or decoded, so that a session
with arrays is read, copied and written without it.
"""

from __future__ import annotations

import binascii
import math
import struct
import zlib
from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from msgspec import UNSET, Meta, Struct, UnsetType, structs

from engine.errors import BadInput

if TYPE_CHECKING:
    import numpy as np

MOST_BYTES: Final = 2**26
"""Of one decoded array: a stream of a few bytes must not inflate to gigabytes."""
MOST_AXES: Final = 4

Kind = Literal["<f4", "<i4", "<i2", "<u1"]
_WIDTHS: Final = {"<f4": 4, "<i4": 4, "<i2": 2, "<u1": 1}
_DECODED: Final = 64
"""How many decoded arrays are kept, so that views need not decode one again for every frame."""


class Array(Struct, frozen=True):
    """Numbers of one type. NaN and infinity may stand in them, unlike in JSON."""

    dtype: Kind
    shape: Annotated[
        tuple[Annotated[int, Meta(ge=0, le=2**31 - 1)], ...], Meta(max_length=MOST_AXES)
    ]
    data: str
    """Base64 of the little-endian bytes in C order, or of their zlib stream (RFC 1950)."""
    deflate: bool | UnsetType = UNSET
    """Whether `data` is a zlib stream; absent if not."""

    def __post_init__(self) -> None:
        size = self.nbytes
        if size > MOST_BYTES:
            raise ValueError(f"an array of {size:,} bytes; the limit is {MOST_BYTES:,}")
        if self.deflate is not True and len(self.data) != 4 * math.ceil(size / 3):
            raise ValueError(
                f"an array of {len(self.data):,} characters, where its shape "
                f"{list(self.shape)} needs {4 * math.ceil(size / 3):,}"
            )

    @classmethod
    def of(cls, values: np.ndarray[Any, Any], kind: Kind) -> Array:
        """The array of these values, deflated where that makes it smaller."""
        import numpy as np

        plain = np.ascontiguousarray(values, dtype=np.dtype(kind)).tobytes()
        packed = zlib.compress(plain)
        smaller = len(packed) < len(plain)
        text = binascii.b2a_base64(packed if smaller else plain, newline=False).decode("ascii")
        shape = tuple(int(each) for each in values.shape)
        return cls(kind, shape, text, True if smaller else UNSET)

    @property
    def nbytes(self) -> int:
        """Its size when decoded."""
        return math.prod(self.shape) * _WIDTHS[self.dtype]

    @property
    def values(self) -> np.ndarray[Any, Any]:
        """The numbers, read-only. Raises BadInput where the data are damaged."""
        return _decoded(self)

    @property
    def integers(self) -> tuple[int, ...]:
        """The numbers of an int32 array in C order, without numpy. Raises BadInput where the data
        are damaged."""
        return tuple(number for (number,) in struct.iter_unpack("<i", self.content))

    @property
    def content(self) -> bytes:
        """The little-endian bytes in C order, without numpy. Raises BadInput where the data are
        damaged."""
        try:
            data = binascii.a2b_base64(self.data, strict_mode=True)
            if self.deflate is True:
                data = _inflated(data, self.nbytes)
        except (binascii.Error, zlib.error, ValueError) as error:
            raise BadInput(f"a damaged array ({error})") from None
        if len(data) != self.nbytes:
            raise BadInput(f"a damaged array ({len(data):,} bytes instead of {self.nbytes:,})")
        return data


@lru_cache(maxsize=_DECODED)
def _decoded(array: Array) -> np.ndarray[Any, Any]:
    import numpy as np

    values = np.frombuffer(array.content, np.dtype(array.dtype)).reshape(array.shape)
    values.flags.writeable = False
    return values


def _inflated(data: bytes, size: int) -> bytes:
    """The content of a zlib stream, of at most `size` bytes and one more, by which an excess
    shows. Raises ValueError for a stream that is cut off or followed by something."""
    stream = zlib.decompressobj()
    content = stream.decompress(data, size + 1)
    if len(content) <= size and (not stream.eof or stream.unused_data):
        raise ValueError("its zlib stream is not whole")
    return content


def arrays_in(record: Any) -> Iterator[Array]:
    """All arrays in a record, also in records inside it."""
    if isinstance(record, Array):
        yield record
    elif isinstance(record, Struct):
        for name in record.__struct_fields__:
            yield from arrays_in(getattr(record, name))
    elif isinstance(record, tuple):
        for item in record:
            yield from arrays_in(item)


def with_numpy(record: Any) -> Any:
    """A record in which numpy arrays replace every `Array`, also in records inside it."""
    if isinstance(record, Array):
        return record.values
    if isinstance(record, Struct):
        fields = {name: getattr(record, name) for name in record.__struct_fields__}
        found = {name: with_numpy(value) for name, value in fields.items()}
        changed = {name: found[name] for name in found if found[name] is not fields[name]}
        return structs.replace(record, **changed) if changed else record
    if isinstance(record, tuple):
        items = tuple(with_numpy(item) for item in record)
        same = all(a is b for a, b in zip(items, record, strict=True))
        return record if same else items
    return record


def check_shape(name: str, array: Array, kind: Kind, shape: tuple[int, ...]) -> None:
    """Raise ValueError where an array has another type or shape than a record needs."""
    if array.dtype != kind or array.shape != shape:
        raise ValueError(f"{name} is {array.dtype} {list(array.shape)}, not {kind} {list(shape)}")
