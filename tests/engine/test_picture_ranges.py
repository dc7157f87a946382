"""Greys of more than 8 bits: none becomes black or white without a word."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from engine.errors import BadInput
from engine.pictures.opening import DecodedPicture, decode_picture
from tests.engine.picture_files import tiff


def floats(*values: float) -> bytes:
    return tiff(len(values), 1, struct.pack(f"<{len(values)}f", *values), bits=32, kind=3)


def whole(code: str, bits: int, kind: int, *values: int) -> bytes:
    return tiff(len(values), 1, struct.pack(f"<{len(values)}{code}", *values), bits, kind)


def greys(opened: DecodedPicture) -> list[int]:
    return [int(value) for value in np.asarray(opened.image)[0, :, 0]]


@pytest.mark.parametrize(
    ("data", "shown", "said"),
    [
        (floats(0.0, 0.5, 1.0), [0, 128, 255], ()),
        (floats(-3.0, 7.0), [0, 255], ("float pixels from -3 to 7: shown black to white",)),
        (floats(0.0, float("nan"), 1.0), [0, 0, 255], ("1 pixel is no finite number",)),
        (floats(float("inf"), 0.0, 1.0, float("-inf")), [255, 0, 255, 0], ("2 pixels are",)),
        (floats(-3e38, 3e38), [0, 255], ("-3e+38 to 3e+38",)),
        (floats(0.5, 0.5), [128, 128], ("every pixel is 0.5",)),
        (floats(90.0, 90.0), [128, 128], ("every pixel is 90",)),
        (whole("i", 32, 2, 0, 2_000_000), [0, 255], ("from 0 to 2,000,000",)),
        (whole("i", 32, 2, -40, 60), [0, 255], ("from -40 to 60",)),
        (whole("I", 32, 1, 0, 4_000_000_000), [0, 255], ("from 0 to 4,000,000,000",)),
        (whole("I", 32, 1, 0, 25, 50), [0, 128, 255], ("from 0 to 50",)),
        (whole("h", 16, 2, -100, 100), [0, 255], ("from -100 to 100",)),
        (whole("H", 16, 1, 0, 65_535), [0, 255], ()),
        (whole("H", 16, 1, 0, 2_570), [0, 10], ("16-bit pixels of at most 2,570 of 65,535",)),
        (whole("B", 8, 1, 0, 3), [0, 3], ()),
    ],
)
def test_each_range(data: bytes, shown: list[int], said: tuple[str, ...]) -> None:
    opened = decode_picture(data, "x")
    assert greys(opened) == pytest.approx(shown, abs=1)
    assert bool(opened.note) == bool(said)
    for words in said:
        assert words in str(opened.note)


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_a_picture_without_a_finite_pixel_is_refused(value: str) -> None:
    with pytest.raises(BadInput, match="no pixel of it is a finite number"):
        decode_picture(floats(float(value), float(value)), "x")


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(width=32), min_size=1, max_size=20))
def test_any_floats_keep_their_order(values: list[float]) -> None:
    finite = [value for value in values if np.isfinite(value)]
    try:
        shown = greys(decode_picture(floats(*values), "x"))
    except BadInput:
        assert not finite
        return
    pairs = sorted(
        (value, grey) for value, grey in zip(values, shown, strict=True) if np.isfinite(value)
    )
    assert [grey for _, grey in pairs] == sorted(grey for _, grey in pairs)
    if min(finite) < max(finite):
        assert (pairs[0][1], pairs[-1][1]) == (0, 255)


def test_a_float_picture_is_turned_as_its_camera_says() -> None:
    data = tiff(2, 1, struct.pack("<2f", 0, 1), bits=32, kind=3, tags={274: 6})
    assert decode_picture(data, "x").image.size == (1, 2)


def test_what_is_all_transparent_is_said() -> None:
    for alpha, note in ((0, "all of it is transparent: shown white"), (1, None)):
        buffer = io.BytesIO()
        Image.new("RGBA", (2, 2), (0, 0, 0, alpha)).save(buffer, "PNG")
        assert decode_picture(buffer.getvalue(), "x").note == note
