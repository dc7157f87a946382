"""Text files in the encodings in which spreadsheets and shells write them."""

from __future__ import annotations

import codecs
from dataclasses import dataclass
from pathlib import Path

from engine.errors import BadInput
from engine.system.files import reason_of

MOST_BYTES = 4 * 2**30
"""The largest table or annotation file that is read."""
CHUNK = 2**20
MARKS = (
    # The mark of UTF-32 begins with that of UTF-16.
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (codecs.BOM_UTF8, "utf-8-sig"),
)
WINDOWS = "cp1252"
"""What Excel on Windows calls "CSV", in western languages."""


@dataclass(frozen=True)
class Encoding:
    """How the bytes of a text file are to be read."""

    name: str
    """A name of one of Python's codecs."""
    guessed: bool = False
    """Whether the text is not Unicode, so that another encoding was taken for granted."""

    @property
    def note(self) -> str:
        """What to tell the user about it; empty where nothing was guessed."""
        return "it is not UTF-8: read as Windows-1252, as Excel writes it" if self.guessed else ""


def encoding_of(file: Path) -> Encoding:
    """The encoding of a whole text file, found by reading it once in small pieces.

    A byte order mark decides; then zeros that only UTF-16 has; then whether the bytes are UTF-8.
    Raises BadInput where the file cannot be read, is too large, or is in no encoding known here.
    """
    try:
        size = file.stat().st_size
        if size > MOST_BYTES:
            raise BadInput(f"{file}: {size:,} bytes; the limit for a table is {MOST_BYTES:,}")
        with file.open("rb") as stream:
            marked = _marked(stream.read(256))
        if marked is not None:
            return marked if _is_all(file, marked.name) else _refused(file, marked.name)
        if _is_all(file, "utf-8"):
            return Encoding("utf-8")
        if _is_all(file, WINDOWS):
            return Encoding(WINDOWS, guessed=True)
    except OSError as error:
        raise BadInput(f"{file}: cannot be read ({reason_of(error)})") from None
    return _refused(file, "utf-8")


def as_utf8(data: bytes, file: Path) -> bytes:
    """The bytes of a text file as UTF-8 without a byte order mark. Raises BadInput."""
    marked = _marked(data[:256])
    try:
        if marked is None:
            data.decode()  # most files, which then stay as they are
            return data
        if marked.name == "utf-8-sig":
            bare = data[len(codecs.BOM_UTF8) :]
            bare.decode()
            return bare
        return data.decode(marked.name).encode()
    except UnicodeError:
        pass
    try:
        return data.decode(WINDOWS).encode()
    except UnicodeError:
        return _refuse(file, "utf-8")


def _marked(beginning: bytes) -> Encoding | None:
    for mark, name in MARKS:
        if beginning.startswith(mark):
            return Encoding(name)
    pairs = beginning[: len(beginning) // 2 * 2]
    if len(pairs) >= 4 and not any(pairs[1::2]) and all(pairs[::2]):
        return Encoding("utf-16-le")
    if len(pairs) >= 4 and not any(pairs[::2]) and all(pairs[1::2]):
        return Encoding("utf-16-be")
    return None


def _is_all(file: Path, encoding: str) -> bool:
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        with file.open("rb") as stream:
            while chunk := stream.read(CHUNK):
                decoder.decode(chunk)
            decoder.decode(b"", final=True)
    except UnicodeError:
        return False
    return True


def _refused(file: Path, encoding: str) -> Encoding:
    _refuse(file, encoding)
    raise AssertionError


def _refuse(file: Path, encoding: str) -> bytes:
    raise BadInput(
        f"{file}: cannot be read as text (it is not all {encoding}, nor Windows-1252): "
        "save it as UTF-8"
    )
