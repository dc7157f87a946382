"""Opening pictures: valid ones open with the right orientation, the others get one line."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import random
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from engine.errors import BadInput
from engine.pictures.opening import (
    MAX_BYTES,
    PREVIEW_SIDE,
    open_picture,
    open_preview,
    pillow_warning,
)


def refusal(path: Path | str) -> str:
    """The one line with which a picture is refused; it names the file."""
    with pytest.raises(BadInput) as caught:
        open_picture(path)
    line = str(caught.value)
    assert str(path) in line
    assert "\n" not in line
    return line


def noise(size: tuple[int, int] = (64, 48)) -> Image.Image:
    return Image.frombytes("RGB", size, random.Random(0).randbytes(3 * size[0] * size[1]))


def near(found: object, wanted: tuple[int, int, int], off: int = 3) -> bool:
    assert isinstance(found, tuple)
    return all(abs(a - b) <= off for a, b in zip(found, wanted, strict=True))


@pytest.mark.parametrize(
    "suffix", ["png", "jpg", "webp", "gif", "bmp", "tiff", "avif", "jp2", "j2k", "ppm"]
)
def test_every_allowed_format_opens(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"picture.{suffix}"
    Image.new("RGB", (30, 20), (200, 40, 40)).save(path)
    opened = open_picture(path)
    assert (opened.image.mode, opened.image.size) == ("RGB", (30, 20))
    assert near(opened.image.getpixel((3, 3)), (200, 40, 40))
    assert opened.record.path == str(path)
    assert (opened.record.width, opened.record.height) == (30, 20)
    assert opened.record.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_preview_is_a_small_jpeg(tmp_path: Path) -> None:
    path = tmp_path / "wide.png"
    Image.new("RGB", (1600, 400), (10, 200, 10)).save(path)
    text = open_picture(path).record.preview
    assert text is not None
    assert Image.open(io.BytesIO(base64.b64decode(text, validate=True))).format == "JPEG"
    preview = open_preview(text)
    assert preview.size == (PREVIEW_SIDE, PREVIEW_SIDE // 4)
    assert near(preview.getpixel((5, 5)), (10, 200, 10), off=8)


def test_a_small_picture_is_not_blown_up_for_its_preview(tmp_path: Path) -> None:
    path = tmp_path / "dot.png"
    Image.new("RGB", (1, 1)).save(path)
    text = open_picture(path).record.preview
    assert text is not None
    assert open_preview(text).size == (1, 1)


def test_a_missing_picture(tmp_path: Path) -> None:
    assert "no such picture" in refusal(tmp_path / "missing.png")


def test_an_empty_picture(tmp_path: Path) -> None:
    path = tmp_path / "empty.png"
    path.touch()
    assert "empty" in refusal(path)


def test_a_folder_is_no_picture(tmp_path: Path) -> None:
    assert "folder" in refusal(tmp_path)


def test_a_fifo_is_refused_without_waiting_for_a_writer(tmp_path: Path) -> None:
    path = tmp_path / "pipe.png"
    os.mkfifo(path)
    assert "not a regular file" in refusal(path)


def test_an_endless_device_is_refused() -> None:
    assert "not a regular file" in refusal("/dev/zero")


def test_a_file_too_large_to_be_read_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    with path.open("wb") as stream:
        stream.truncate(MAX_BYTES + 1)
    assert "limit" in refusal(path)


@pytest.mark.parametrize("name", ["a\0b.png", "x" * 5000, "~no-such-user-here/x.png"])
def test_impossible_paths_are_refused(name: str) -> None:
    refusal(name)


@pytest.mark.parametrize(
    ("suffix", "kind", "remedy"),
    [
        ("ico", "an icon (ICO)", "convert it to PNG first"),
        ("tga", "a Targa picture (TGA)", "convert it to PNG first"),
        ("dds", "a DDS texture", "convert it to PNG first"),
        ("eps", "a PostScript document", "convert it to PNG first"),
        ("pdf", "a PDF document, not a picture", "pdftoppm"),
    ],
)
def test_formats_outside_the_allow_list_are_named(
    tmp_path: Path, suffix: str, kind: str, remedy: str
) -> None:
    path = tmp_path / f"picture.{suffix}"
    Image.new("RGB", (16, 16)).save(path)
    line = refusal(path)
    assert kind in line
    assert remedy in line


def test_no_decoder_is_imported_that_starts_programs(tmp_path: Path) -> None:
    """Pillow imports all its plugins where it looks for one that it does not know yet."""
    for suffix in ("png", "webp", "tiff", "avif", "jp2"):
        Image.new("RGB", (16, 16)).save(tmp_path / f"a.{suffix}")
    (tmp_path / "a.txt").write_text("no picture")
    script = """
import sys
from pathlib import Path
from engine.errors import BadInput
from engine.pictures.opening import open_picture
for path in Path(sys.argv[1]).iterdir():
    try:
        open_picture(path)
    except BadInput:
        pass
loaded = {name for name in sys.modules if name.startswith("PIL.") and "Plugin" in name}
print(*sorted(loaded & {f"PIL.{kind}ImagePlugin" for kind in ("Eps", "Pdf", "Wmf", "Fpx", "Psd")}))
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == ""


def test_text_with_a_pictures_name_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "text.png"
    path.write_text("GIF 89 of my cat")
    assert "not a picture" in refusal(path)


@pytest.mark.parametrize(
    "suffix", ["png", "jpg", "webp", "gif", "bmp", "tiff", "avif", "jp2", "ppm"]
)
def test_a_truncated_picture_is_refused(tmp_path: Path, suffix: str) -> None:
    whole = tmp_path / f"whole.{suffix}"
    noise().save(whole)
    data = whole.read_bytes()
    for length in (8, len(data) // 3, len(data) * 2 // 3):
        cut = tmp_path / f"cut.{suffix}"
        cut.write_bytes(data[:length])
        refusal(cut)


def test_a_decompression_bomb_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    """A valid PNG header for 60,000 x 60,000 pixels, without any data after it."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + check

    for side in (60_000, 12_000):
        path = tmp_path / f"bomb{side}.png"
        head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
        path.write_bytes(
            b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0"))
        )
        assert "limit" in refusal(path)


@pytest.mark.parametrize("suffix", ["gif", "webp", "png"])
def test_of_an_animation_the_first_frame_is_taken(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"moving.{suffix}"
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "blue", "green")]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    assert near(open_picture(path).image.getpixel((4, 4)), (255, 0, 0))


def test_cmyk_becomes_rgb(tmp_path: Path) -> None:
    path = tmp_path / "print.jpg"
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(path, quality=95)
    assert near(open_picture(path).image.getpixel((8, 8)), (255, 0, 0), off=6)


@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_sixteen_bit_grey_is_scaled_not_clipped(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"deep.{suffix}"
    values = [0, 16384, 32768, 65535]
    Image.frombytes("I;16", (4, 1), struct.pack("<4H", *values)).save(path)
    image = open_picture(path).image
    wanted = [value * 255 // 65535 for value in values]
    for x, grey in enumerate(wanted):
        assert near(image.getpixel((x, 0)), (grey, grey, grey), off=1)


def test_sixteen_bit_grey_in_the_other_byte_order(tmp_path: Path) -> None:
    path = tmp_path / "deep.tiff"
    Image.frombytes("I;16B", (3, 1), struct.pack(">3H", 0, 32768, 65535)).save(path)
    image = open_picture(path).image
    assert near(image.getpixel((1, 0)), (127, 127, 127), off=1)
    assert near(image.getpixel((2, 0)), (255, 255, 255), off=1)


@pytest.mark.parametrize(
    ("mode", "pixel", "wanted"),
    [
        ("RGBA", (255, 0, 0, 0), (255, 255, 255)),
        ("RGBA", (255, 0, 0, 255), (255, 0, 0)),
        ("RGBA", (0, 0, 0, 128), (127, 127, 127)),
        ("LA", (0, 0), (255, 255, 255)),
        ("L", 7, (7, 7, 7)),
        ("1", 1, (255, 255, 255)),
    ],
)
def test_transparency_is_flattened_on_white(
    tmp_path: Path, mode: str, pixel: int | tuple[int, ...], wanted: tuple[int, int, int]
) -> None:
    path = tmp_path / "picture.png"
    Image.new(mode, (6, 6), pixel).save(path)
    assert near(open_picture(path).image.getpixel((2, 2)), wanted, off=1)


@pytest.mark.parametrize("suffix", ["png", "gif"])
def test_a_palette_with_a_transparent_entry(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"palette.{suffix}"
    image = Image.new("P", (4, 2), 1)
    image.putpalette([0, 0, 200, 255, 0, 0])
    image.putpixel((3, 1), 0)
    image.save(path, transparency=1)
    opened = open_picture(path).image
    assert opened.getpixel((0, 0)) == (255, 255, 255)
    assert opened.getpixel((3, 1)) == (0, 0, 200)


def test_the_cameras_orientation_is_applied(tmp_path: Path) -> None:
    path = tmp_path / "turned.png"
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.new("RGB", (30, 10), (0, 0, 255))
    image.paste((255, 0, 0), (0, 0, 5, 10))
    image.save(path, exif=exif)
    opened = open_picture(path)
    assert opened.image.size == (10, 30)
    assert (opened.record.width, opened.record.height) == (10, 30)
    assert opened.image.getpixel((5, 2)) == (255, 0, 0)
    assert opened.image.getpixel((5, 25)) == (0, 0, 255)


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_a_good_picture_with_broken_exif_still_opens(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"picture.{suffix}"
    Image.new("RGB", (30, 10), (0, 0, 255)).save(path, exif=b"Exif\0\0no TIFF head at all")
    assert open_picture(path).image.size == (30, 10)


def test_a_file_name_that_is_no_utf8_opens(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.png"))
    Image.new("RGB", (5, 5)).save(path)
    assert open_picture(path).image.size == (5, 5)


@pytest.mark.parametrize("text", ["", "not base64!", "é", "QUJD"])
def test_a_damaged_preview_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match="preview"):
        open_preview(text)


def _samples() -> list[bytes]:
    made = []
    for form in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000", "PPM"):
        buffer = io.BytesIO()
        noise((16, 16)).save(buffer, form)
        made.append(buffer.getvalue())
    return made


SAMPLES = _samples()


@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    sample=st.sampled_from(SAMPLES),
    places=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), min_size=1, max_size=6),
)
def test_damaged_bytes_open_or_are_refused(
    tmp_path: Path, sample: bytes, places: list[tuple[int, int]]
) -> None:
    data = bytearray(sample)
    for place, value in places:
        data[place % len(data)] = value
    path = tmp_path / "damaged"
    path.write_bytes(data)
    try:
        image = open_picture(path).image
    except BadInput as error:
        assert "\n" not in str(error)
    else:
        assert image.mode == "RGB"


def test_an_old_pillow_gets_one_line_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = ["10.4.0"]
    monkeypatch.setattr("importlib.metadata.version", lambda _: installed[0])
    warning = pillow_warning()
    assert warning is not None
    assert "10.4.0" in warning
    assert "pip install" in warning
    assert "\n" not in warning
    for good in ("13.0.0", "13.1.0.dev0", "14.0"):
        installed[0] = good
        assert pillow_warning() is None
