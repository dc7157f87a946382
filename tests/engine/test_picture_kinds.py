"""What a file is: known by its bytes, opened where Pillow can, and named with a remedy else."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import features

from engine.errors import BadInput
from engine.pictures import decoders
from engine.pictures.addresses import local_path
from engine.pictures.kinds import described, opened_as
from engine.pictures.kinds import refusal as refusal_of
from engine.pictures.opening import decode_picture, open_picture
from tests.engine.picture_files import plain, tiff

FTYP = b"\0\0\0\x1cftyp"
SUB_IFDS, SUBFILE_TYPE, PHOTOMETRIC, COMPRESSION, DNG_VERSION = 330, 254, 262, 259, 50706


def refusal(data: bytes) -> str:
    with pytest.raises(BadInput) as caught:
        decode_picture(data, "x.png")
    line = str(caught.value)
    assert line.startswith("x.png: ")
    assert line.isprintable()
    return line


@pytest.mark.parametrize("form", ["AVIF", "JPEG2000", "WEBP", "TIFF", "PPM"])
def test_the_suffix_does_not_matter(tmp_path: Path, form: str) -> None:
    path = tmp_path / "called.jpg"
    path.write_bytes(plain(form))
    assert open_picture(path).image.size == (8, 6)


@pytest.mark.parametrize(
    ("data", "kind", "remedy"),
    [
        (FTYP + b"heic\0\0\0\0mif1heic" + bytes(40), "HEIC", "heif-convert"),
        (FTYP + b"mif1\0\0\0\0mif1heic" + bytes(40), "HEIC", "heif-convert"),
        (FTYP + b"crx \0\0\0\1crx isom" + bytes(40), "raw photo", "darktable-cli"),
        (FTYP + b"isom\0\0\2\0isomiso2" + bytes(40), "a video", "ffmpeg"),
        (FTYP + b"qt  \0\0\2\0qt  " + bytes(40), "a video", "ffmpeg"),
        (b"\x1a\x45\xdf\xa3" + bytes(40), "a video", "ffmpeg"),
        (b"RIFF\0\0\0\0AVI LIST", "a video", "ffmpeg"),
        (b"\xff\x0a" + bytes(40), "JPEG XL", "djxl"),
        (b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(40), "JPEG XL", "djxl"),
        (b'<?xml version="1.0"?>\n<!-- by hand --><svg width="4">', "SVG", "rsvg-convert"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG", "rsvg-convert"),
        (b"%PDF-1.7\n", "a PDF document", "pdftoppm"),
        (b"8BPS\0\1" + bytes(40), "Photoshop", "magick"),
        (b"II*\0\x10\0\0\0CR\2\0" + bytes(40), "raw photo", "darktable-cli"),
        (b"FUJIFILMCCD-RAW 0201", "raw photo", "darktable-cli"),
        (bytes(128) + b"DICM" + bytes(40), "DICOM", "dcm2img"),
        (b"\n<!DOCTYPE html>\n<html>", "a web page", "browser"),
        (b"\xef\xbb\xbf<html lang=en>", "a web page", "browser"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "Git LFS pointer", "git lfs pull"),
        (b"/annex/objects/SHA256E-s1--a.png\n", "git-annex pointer", "git annex get"),
        (b"\0\5\x16\7\0\2\0\0Mac OS X        ", "a Mac's notes", "name that file"),
        (b"PK\3\4" + bytes(40), "an archive", "unpack"),
        (b"\x93NUMPY\1\0" + bytes(40), "a numpy array", "fromarray"),
        (b"\x76\x2f\x31\x01" + bytes(40), "OpenEXR", "magick"),
    ],
)
def test_what_is_not_opened_is_named_with_a_remedy(data: bytes, kind: str, remedy: str) -> None:
    line = refusal(data)
    assert kind in line
    assert remedy in line


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (bytes(5000), "5,000 zero bytes"),
        (b"404: Not Found", 'text, not a picture (it begins "404: Not Found")'),
        (b'{"error": "\x1b[31mno"}', "not a picture"),
        (b"\x01\x02\x03 whatever \xfe", "not a picture (PNG, JPEG, WebP"),
    ],
)
def test_what_is_of_no_kind_is_described(data: bytes, words: str) -> None:
    assert words in refusal(data)


@pytest.mark.parametrize(
    "data",
    [
        tiff(2, 2, bytes(4), tags={SUBFILE_TYPE: 1, DNG_VERSION: b"\1\4\0\0"}),
        tiff(2, 2, bytes(4), inner={PHOTOMETRIC: 32803}),
        tiff(2, 2, bytes(4), inner={COMPRESSION: 34713, PHOTOMETRIC: 2}),
        tiff(2, 2, bytes(4), tags={PHOTOMETRIC: 32803}),
    ],
)
def test_the_small_picture_in_a_raw_photo_is_not_taken_for_it(data: bytes) -> None:
    assert "raw photo" in refusal(data)


@pytest.mark.parametrize(
    "data",
    [
        tiff(2, 2, bytes(4)),
        tiff(2, 2, bytes(4), inner={SUBFILE_TYPE: 1, PHOTOMETRIC: 1}),
        tiff(2, 2, bytes(4), tags={DNG_VERSION: b"\1\4\0\0"}),
    ],
)
def test_a_tiff_whose_first_picture_is_the_whole_one_opens(data: bytes) -> None:
    assert decode_picture(data, "x").image.size == (2, 2)


def test_a_tiff_that_pillow_cannot_decode_is_not_called_no_picture() -> None:
    line = refusal(tiff(2, 2, bytes(48), bits=32, kind=3, tags={277: 3, 262: 2}))
    assert "TIFF" in line
    assert "convert it" in line


@pytest.mark.parametrize(
    ("version", "remedy"),
    [("11.2.1", "Pillow 11.2.1 cannot decode it, update it: pip"), ("13.0.0", "not built")],
)
def test_a_pillow_without_the_decoder_is_named_with_the_command_that_updates_it(
    monkeypatch: pytest.MonkeyPatch, version: str, remedy: str
) -> None:
    decoders.cannot_decode.cache_clear()
    monkeypatch.setattr("PIL.__version__", version)
    check: Any = features.check_module
    monkeypatch.setattr(features, "check_module", lambda name: name != "avif" and check(name))
    try:
        line = refusal(plain("AVIF"))
        assert remedy in line
        assert "pip install --no-deps -U 'pillow>=13'" in line
        assert decode_picture(plain("PNG"), "x").image.size == (8, 6)
    finally:
        decoders.cannot_decode.cache_clear()


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=600))
def test_any_bytes_are_told_what_they_are(data: bytes) -> None:
    for said in (refusal_of(data), described(data)):
        assert said is None or said.isprintable()
    assert opened_as(data) is None or data


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"]),
    st.binary(max_size=200),
)
def test_any_tags_are_read_or_left(head: bytes, rest: bytes) -> None:
    try:
        decode_picture(head + rest, "x")
    except BadInput as error:
        assert str(error).startswith("x: ")


# Addresses


@pytest.mark.parametrize(
    "name",
    [
        "https://example.org/a.png",
        "HTTP://x/y",
        "s3://bucket/a.png",
        "hf://datasets/a",
        "ftp://a/b",
    ],
)
def test_addresses_are_not_opened(name: str) -> None:
    with pytest.raises(BadInput, match="addresses are not opened; download it first"):
        open_picture(name)


def test_a_picture_inside_its_address_is_not_printed_whole() -> None:
    with pytest.raises(BadInput, match="addresses are not opened; write the picture") as caught:
        open_picture("data:image/png;base64," + "A" * 100_000)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("start", ["file://", "file://localhost", "FILE://", "file:"])
def test_an_address_of_a_file_is_opened(tmp_path: Path, start: str) -> None:
    path = tmp_path / "a b#c?.png"
    path.write_bytes(plain("PNG"))
    quoted = str(path).replace(" ", "%20").replace("#", "%23").replace("?", "%3F")
    opened = open_picture(start + quoted)
    assert opened.record.path == str(path)


def test_an_address_of_a_file_may_hold_any_bytes(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/caf\xe9.png"
    Path(os.fsdecode(path)).write_bytes(plain("PNG"))
    assert local_path(f"file://{tmp_path}/caf%E9.png") == os.fsdecode(path)
    assert open_picture(f"file://{tmp_path}/caf%E9.png").image.size == (8, 6)


def test_a_file_of_another_machine_is_not_looked_for_here() -> None:
    with pytest.raises(BadInput, match="another machine"):
        open_picture("file://server/share/a.png")


def test_a_file_whose_name_looks_like_an_address_opens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("data:a.png").write_bytes(plain("PNG"))
    assert open_picture("data:a.png").record.path == "data:a.png"


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=60))
def test_any_address_is_followed_or_refused(text: str) -> None:
    try:
        assert local_path(f"file:{text}") is not None
    except BadInput as error:
        assert str(error)


# Links


def test_a_link_to_nothing_names_what_it_points_to(tmp_path: Path) -> None:
    (tmp_path / "a.png").symlink_to("gone.png")
    (tmp_path / "b.png").symlink_to("../.git/annex/objects/Xx/SHA256E-s1--b.png")
    with pytest.raises(BadInput, match=r"a\.png: a link to gone\.png, where there is no"):
        open_picture(tmp_path / "a.png")
    with pytest.raises(BadInput, match="git annex get"):
        open_picture(tmp_path / "b.png")
