"""Metadata that would cost too much are left out, and the pixels stay as they are."""

from __future__ import annotations

import zlib

import pytest
from PIL import Image

from engine.errors import BadInput
from engine.pictures.metadata import MOST_KEPT, MOST_OF_ONE, lean
from engine.pictures.opening import decode_picture
from tests.engine.picture_files import (
    chunk,
    jpeg_with,
    plain,
    png_with,
    repeating_tags,
    segment,
    tiff,
)

XMP = b"XML:com.adobe.xmp\0"
EXIF = b"Exif\0\0"
LARGE = zlib.compress(bytes(3 * MOST_OF_ONE))
SCAN = b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00"


def turned() -> bytes:
    """EXIF data that say that the picture lies on its side."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif.tobytes().removeprefix(EXIF)


PNGS = {
    "compressed XMP": [chunk(b"iTXt", XMP + b"\1\0\0\0" + LARGE)],
    "plain XMP": [chunk(b"iTXt", XMP + b"\0\0\0\0" + b"x" * (3 * MOST_OF_ONE))],
    "compressed text": [chunk(b"zTXt", b"key\0\0" + LARGE)],
    "colour profile": [chunk(b"iCCP", b"key\0\0" + LARGE)],
    "texts": [chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(MOST_OF_ONE - 9)))] * 40,
    "many texts": [chunk(b"tEXt", b"k\0v")] * (MOST_KEPT + 5000),
    "many unknown": [chunk(b"prVt", b"v")] * (MOST_KEPT + 5000),
    "EXIF": [chunk(b"eXIf", repeating_tags(2000, 2**20))],
}
JPEGS = {
    "EXIF": [segment(0xE1, EXIF + bytes(65000))] * 60,
    "repeating EXIF": [segment(0xE1, EXIF + repeating_tags(5000, 65000))],
    "Photoshop": [segment(0xED, b"Photoshop 3.0\0" + bytes(65000))] * 300,
    "comments": [segment(0xFE, b"")] * (MOST_KEPT + 5000),
    "profile": [segment(0xE2, b"ICC_PROFILE\0\1\1" + bytes(65000))] * 300,
    "fill": [b"\xff" * 2_000_000],
}


@pytest.mark.parametrize("name", PNGS)
def test_a_png_is_as_good_without_them(name: str) -> None:
    data = png_with(*PNGS[name])
    assert len(lean(data)) < len(plain("PNG")) + 17 * MOST_OF_ONE
    assert lean(data) != data
    assert decode_picture(data, "x").image.getpixel((3, 3)) == (200, 30, 40)


@pytest.mark.parametrize("name", JPEGS)
def test_a_jpeg_is_as_good_without_them(name: str) -> None:
    data, alone = jpeg_with(*JPEGS[name]), plain("JPEG")
    assert len(lean(data)) < len(alone) + 17 * MOST_OF_ONE
    assert lean(data) != data
    same = decode_picture(alone, "x").image.tobytes()
    assert decode_picture(data, "x").image.tobytes() == same


@pytest.mark.parametrize(
    "data",
    [
        png_with(
            chunk(b"tEXt", b"k\0v"),
            chunk(b"iCCP", b"k\0\0" + zlib.compress(bytes(3000))),
            chunk(b"iTXt", XMP + b"\1\0\0\0" + zlib.compress(b"x" * 9000)),
        ),
        jpeg_with(segment(0xE1, EXIF + turned()), segment(0xFE, b"a comment")),
        plain("TIFF"),
        plain("WEBP"),
    ],
)
def test_usual_metadata_stay(data: bytes) -> None:
    assert lean(data) is data


def test_the_orientation_is_kept_beside_what_is_left_out() -> None:
    png = png_with(chunk(b"eXIf", turned()), *PNGS["compressed XMP"])
    jpeg = jpeg_with(segment(0xE1, EXIF + turned()), *JPEGS["Photoshop"])
    for data in (png, jpeg):
        assert decode_picture(data, "x").image.size == (6, 8)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (repeating_tags(3000, 2**20), "its tags name the same bytes again and again"),
        (plain("JPEG")[:-2] + SCAN * 1500 + b"\xff\xd9", "scans"),
        (plain("JPEG2000")[:12] + b"\0\0\0\x08free" * 200_000, "no JPEG 2000 header"),
    ],
)
def test_what_would_take_for_ever_is_refused(data: bytes, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        decode_picture(data, "x")


def test_a_large_private_tag_is_no_reason_to_refuse_a_tiff() -> None:
    data = tiff(2, 2, bytes(4), tags={37724: bytes(3 * MOST_OF_ONE)})
    assert decode_picture(data, "x").image.size == (2, 2)


def test_parts_that_break_off_are_left_to_pillow() -> None:
    for cut in (20, 36, 41, 60):
        data = png_with(chunk(b"iTXt", XMP + b"\1\0\0\0" + LARGE))[:cut]
        assert lean(data) == data
    for data in (b"\xff\xd8\xff", b"\xff\xd8\xff\xe1", b"\xff\xd8\xff\xe1\0\0\0\0"):
        assert data.startswith(lean(data)[:2])
