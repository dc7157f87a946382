"""What a file is, by its first bytes: names say little, and other programs choose them freely."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from engine.errors import BadInput
from engine.system.files import GIT_LFS_POINTER, reason_of

BEGINNING: Final = 512
_PICTURES: Final = (
    b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a", b"BM", b"II*\0", b"MM\0*",
    b"II+\0", b"MM\0+", b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  ", b"\xff\x0a",
    b"\0\0\0\x0cJXL ",
)  # fmt: skip
_BRANDS: Final = (b"avif", b"avis", b"heic", b"heix", b"hevc", b"heim", b"mif1", b"msf1")
_OTHERS: Final = (
    (GIT_LFS_POINTER, "a Git LFS pointer, not the file itself: fetch it "
     "with `git lfs pull`"),
    (b"\x1f\x8b", "compressed with gzip: unpack it first (gunzip)"),
    (b"BZh91AY&SY", "compressed with bzip2: unpack it first (bunzip2)"),
    (b"\xfd7zXZ\0", "compressed with xz: unpack it first (unxz)"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd: unpack it first (unzstd)"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive: unpack it, and name its folder"),
    (b"Rar!", "a RAR archive: unpack it, and name its folder"),
    (b"PK\x03\x04", "a ZIP archive or an Excel workbook: unpack it and name its folder, or save "
     "the sheet as CSV"),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook: save the sheet as CSV"),
    (b"SQLite format 3\0", "an SQLite database: export the table as CSV"),
    (b"\x89HDF\r\n", "an HDF5 file: write its pictures to a folder, or to Parquet"),
    (b"\x93NUMPY", "a NumPy array: write its pictures to a folder, or to Parquet"),
    (b"\x80\x02", "a pickle, which is not opened: write Parquet or CSV"),
    (b"\x80\x03", "a pickle, which is not opened: write Parquet or CSV"),
    (b"\x80\x04", "a pickle, which is not opened: write Parquet or CSV"),
    (b"\x80\x05", "a pickle, which is not opened: write Parquet or CSV"),
    (b"%PDF-", "a PDF document: export its pages as pictures"),
    (b"Obj\x01", "an Avro file: write Parquet"),
    (b"FEA1", "an old Feather file: write Parquet"),
)  # fmt: skip


def beginning_of(file: Path) -> bytes:
    """The first bytes of a regular file. Raises BadInput where it is none, or cannot be read."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise BadInput(f"{file}: not a regular file")
            return os.read(descriptor, BEGINNING)
        finally:
            os.close(descriptor)
    except (OSError, ValueError) as error:
        raise BadInput(f"{file}: cannot be read ({reason_of(error)})") from None


def is_picture(beginning: bytes) -> bool:
    """Whether a file that begins so is a picture, of a kind that is opened here or not."""
    if beginning.startswith(_PICTURES):
        # Two letters are not enough: a bitmap's reserved bytes are zero.
        return not beginning.startswith(b"BM") or beginning[6:10] == b"\0\0\0\0"
    if beginning[:4] == b"RIFF" and beginning[8:12] == b"WEBP":
        return True
    return beginning[4:8] == b"ftyp" and beginning[8:12] in _BRANDS


def is_parquet(beginning: bytes) -> bool:
    """Whether a file that begins so is a Parquet file."""
    return beginning.startswith((b"PAR1", b"PARE"))


def is_arrow(beginning: bytes) -> bool:
    """Whether a file that begins so is an Arrow file or stream."""
    if beginning.startswith(b"ARROW1"):
        return True
    # A stream begins with a continuation mark and the length of its schema, which is not zero.
    return beginning[:4] == b"\xff\xff\xff\xff" and 0 < int.from_bytes(beginning[4:8], "little") < (
        2**28
    )


def other_kind(beginning: bytes) -> str | None:
    """What a file is that begins so and is no data to sweep, with the remedy; None if not known."""
    for mark, words in _OTHERS:
        if beginning.startswith(mark):
            return words
    if beginning[257:262] == b"ustar":
        return "a tar archive: unpack it, and name its folder"
    if is_picture(beginning):
        return "a picture, not data: name the folder that it is in"
    return None
