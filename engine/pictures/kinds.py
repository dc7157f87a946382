"""What a file is, known by its first bytes whatever it is called: the pictures that are opened, and
what to do about everything else that people take for one."""

from __future__ import annotations

import re
from dataclasses import dataclass

from engine.pictures.tags import (
    COMPRESSION,
    DNG_VERSION,
    PHOTOMETRIC,
    SUB_IFDS,
    SUBFILE_TYPE,
    tags_of,
)
from engine.system.files import GIT_LFS_POINTER

UPDATE_PILLOW = "pip install --no-deps -U 'pillow>=13'"
"""Without --no-deps, term-image's metadata would keep an old one."""

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000", "PPM")
"""What is opened, by Pillow's names: decoders of pixels alone, which start no other program."""
SHOWN = ("PNG", "JPEG", "WebP", "GIF", "BMP", "TIFF", "AVIF", "JPEG 2000", "PPM")

ENDINGS = (
    *(".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".gif", ".bmp", ".dib"),
    *(".tif", ".tiff", ".avif", ".jp2", ".j2k", ".jpx", ".j2c", ".jpc"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".pfm"),
)
"""By which these files are usually called, in small letters; for lists of files only."""

_TIFF = frozenset({b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"II\0*", b"MM*\0"})
"""The last two are of programs that write the wrong order, which Pillow reads."""
_HEAD = 4096
_CONVERT = "convert it to PNG first"
_DEVELOP = "export it as JPEG or PNG first (darktable-cli, or the camera's program)"
_FRAME = "take a frame out of it first (ffmpeg -i VIDEO -frames:v 1 FRAME.png)"
_NPY = "save it as a picture first (PIL.Image.fromarray)"


@dataclass(frozen=True)
class _Kind:
    name: str
    """With its article."""
    remedy: str
    picture: bool = True
    """Whether a person would call it a picture."""

    @property
    def refusal(self) -> str:
        """The kind and its remedy in a line."""
        if self.picture:
            return f"{self.name}, which is not opened here: {self.remedy}"
        return f"{self.name}, not a picture: {self.remedy}"


def _magick(ending: str) -> str:
    return f"{_CONVERT} (magick PICTURE.{ending} PICTURE.png)"


_HEIF = _Kind("a HEIC or HEIF photo", f"{_CONVERT} (heif-convert, or on a Mac sips -s format png)")
_VIDEO = _Kind("a video", _FRAME, picture=False)
_SOUND = _Kind("a sound recording", "name a picture", picture=False)
_ARCHIVE = _Kind("an archive", "unpack it and name a picture of it", picture=False)
_RAW = _Kind("a camera's raw photo", _DEVELOP)
_JPEG_XL = _Kind("a JPEG XL picture", f"{_CONVERT} (djxl PICTURE.jxl PICTURE.png)")
_POSTSCRIPT = _Kind(
    "a PostScript document", f"{_CONVERT} (gs -sDEVICE=png16m -r150 -o PAGE.png)", picture=False
)
_SVG = _Kind("an SVG drawing", f"{_CONVERT} (rsvg-convert PICTURE.svg -o PICTURE.png)")
_WEB_PAGE = _Kind(
    "a web page",
    "the download got a page instead of the picture; open the address in a browser",
    picture=False,
)

_BY_BEGINNING: tuple[tuple[bytes, _Kind], ...] = (
    (
        GIT_LFS_POINTER,
        _Kind("a Git LFS pointer", "git lfs pull fetches the picture", picture=False),
    ),
    (
        b"/annex/objects/",
        _Kind("a git-annex pointer", "git annex get fetches the picture", picture=False),
    ),
    (
        b"\0\5\x16\7",
        _Kind(
            "a Mac's notes about the file of this name without ._",
            "name that file",
            picture=False,
        ),
    ),
    (b"\xff\x0a", _JPEG_XL),
    (b"\0\0\0\x0cJXL \r\n\x87\n", _JPEG_XL),
    (b"8BPS", _Kind("a Photoshop document (PSD)", _magick("psd") + ", or export it")),
    (b"gimp xcf", _Kind("a GIMP document", "export it as PNG first")),
    (b"%PDF", _Kind("a PDF document", f"{_CONVERT} (pdftoppm -png)", picture=False)),
    (b"%!PS", _POSTSCRIPT),
    (b"\xc5\xd0\xd3\xc6", _POSTSCRIPT),
    (b"\0\0\1\0", _Kind("an icon (ICO)", _magick("ico"))),
    (b"\0\0\2\0", _Kind("a cursor (CUR)", _magick("cur"))),
    (b"icns", _Kind("a Mac's icon (ICNS)", f"{_CONVERT} (sips -s format png)")),
    (b"DDS ", _Kind("a DDS texture", _magick("dds"))),
    (b"qoif", _Kind("a QOI picture", _magick("qoi"))),
    (b"\x01\xda", _Kind("an SGI picture", _magick("sgi"))),
    (b"II\xbc\x01", _Kind("a JPEG XR picture", _magick("jxr"))),
    (b"BPG\xfb", _Kind("a BPG picture", f"{_CONVERT} (bpgdec)")),
    (b"FLIF", _Kind("a FLIF picture", f"{_CONVERT} (flif -d)")),
    (b"AT&TFORM", _Kind("a DjVu document", f"{_CONVERT} (ddjvu)", picture=False)),
    (b"\x76\x2f\x31\x01", _Kind("an OpenEXR picture", _magick("exr"))),
    (b"#?R", _Kind("a Radiance picture (HDR)", _magick("hdr"))),
    (b"/* XPM", _Kind("an X pixmap (XPM)", _magick("xpm"))),
    (b"\xd7\xcd\xc6\x9a", _Kind("a Windows metafile", _magick("wmf"))),
    (b"SIMPLE  =", _Kind("a FITS picture", _magick("fits"))),
    (b"FUJIFILMCCD-RAW", _RAW),
    (b"FOVb", _RAW),
    (b"\0MRM", _RAW),
    (b"IIU\0", _RAW),
    (b"IIRO", _RAW),
    (b"IIRS", _RAW),
    (b"MMOR", _RAW),
    (b"\x1a\x45\xdf\xa3", _VIDEO),
    (b"FLV\1", _VIDEO),
    (b"\0\0\1\xba", _VIDEO),
    (b"\0\0\1\xb3", _VIDEO),
    (b"0&\xb2u\x8ef\xcf\x11", _VIDEO),
    (b"OggS", _VIDEO),
    (b"ID3", _SOUND),
    (b"fLaC", _SOUND),
    (b"PK\3\4", _ARCHIVE),
    (b"\x1f\x8b", _ARCHIVE),
    (b"BZh", _ARCHIVE),
    (b"\xfd7zXZ\0", _ARCHIVE),
    (b"7z\xbc\xaf\x27\x1c", _ARCHIVE),
    (b"Rar!", _ARCHIVE),
    (b"\x28\xb5\x2f\xfd", _ARCHIVE),
    (b"\x93NUMPY", _Kind("a numpy array", _NPY, picture=False)),
    (b"\x89HDF", _Kind("an HDF5 file", _NPY, picture=False)),
    (b"\x80\2", _Kind("a pickle", _NPY, picture=False)),
    (b"\x80\4", _Kind("a pickle", _NPY, picture=False)),
    (b"\x80\5", _Kind("a pickle", _NPY, picture=False)),
    (b"PAR1", _Kind("a Parquet file", "a sweep asks about its pictures", picture=False)),
    (b"ARROW1", _Kind("an Arrow file", "a sweep asks about its pictures", picture=False)),
    (b"MZ", _Kind("a program", "name a picture", picture=False)),
    (b"\x7fELF", _Kind("a program", "name a picture", picture=False)),
)
"""The first that fits counts."""

_OF_RIFF = {b"AVI ": _VIDEO, b"WAVE": _SOUND}
_HEIF_BRANDS = frozenset(
    {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}
    | {b"jpeg", b"jpgs", b"mif2", b"miaf"}
)
_AVIF_BRANDS = frozenset({b"avif", b"avis"})
_CANON_RAW = b"crx "
_RAW_PHOTOMETRIC = frozenset({32803, 34892})
"""A mosaic of the sensor's colours, and what is interpolated of it."""
_RAW_COMPRESSION = frozenset({32767, 34713})
"""Of Sony and Nikon."""

_MARKUP = re.compile(rb"(?:\xef\xbb\xbf)?\s*<(?:!doctype\s+html|html|head|body)\b", re.IGNORECASE)
_DRAWING = re.compile(rb"<svg[\s>]", re.IGNORECASE)
_TEXT = re.compile(rb"[\t\n\r -~\x80-\xff]+")
_SHOWN_TEXT = 40


def opened_as(data: bytes) -> str | None:
    """Which of FORMATS the file is by its first bytes; None for anything else."""
    if data.startswith(b"\x89PNG"):
        return "PNG"
    if data.startswith(b"\xff\xd8"):
        return "JPEG"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if data[:4] == b"GIF8":
        return "GIF"
    if data[:2] == b"BM":
        return "BMP"
    if data[:4] in _TIFF:
        return "TIFF"
    if data.startswith((b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51")):
        return "JPEG2000"
    if _brands(data) & _AVIF_BRANDS:
        return "AVIF"
    if data[:1] == b"P" and data[1:2] in b"123456fFy" and data[2:3].isspace():
        return "PPM"
    return None


def refusal(data: bytes) -> str | None:
    """Why the file is not opened, with the remedy; None where it may be a picture.

    It is told by its content: a suffix says nothing about that.
    """
    if not data:
        return "an empty file, not a picture"
    if _is_raw_tiff(data):
        return _RAW.refusal
    if opened_as(data) is not None:
        return None
    kind = _kind_of(data)
    return None if kind is None else kind.refusal


def described(data: bytes) -> str:
    """What there is to say about a file that is no picture of any known kind."""
    head = data[:_HEAD]
    if not data.strip(b"\0"):
        return f"{len(data):,} zero bytes, not a picture: a copy that broke off; fetch it again"
    if _TEXT.fullmatch(head):
        words = " ".join(head.decode("ascii", "replace").split())
        plain = "".join(char if char.isascii() and char.isprintable() else "?" for char in words)
        return f'text, not a picture (it begins "{plain[:_SHOWN_TEXT]}")'
    return f"not a picture ({', '.join(SHOWN)} can be opened)"


def _kind_of(data: bytes) -> _Kind | None:
    head = data[:_HEAD]
    if _MARKUP.match(head):
        return _WEB_PAGE
    if _DRAWING.search(head) and head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        return _SVG
    if head[128:132] == b"DICM":
        return _Kind("a DICOM picture", f"{_CONVERT} (dcm2img, or dcmj2pnm)")
    if head[344:348] in (b"n+1\0", b"ni1\0"):
        return _Kind("a NIfTI volume", "save a slice of it as PNG first", picture=False)
    if head[257:262] == b"ustar":
        return _ARCHIVE
    if head[:4] == b"RIFF":
        return _OF_RIFF.get(head[8:12])
    brands = _brands(head)
    if brands:
        if _CANON_RAW in brands:
            return _RAW
        return _HEIF if brands & _HEIF_BRANDS else _VIDEO
    if head[4:8] in (b"moov", b"mdat", b"wide") or (head[:1] == b"G" and head[188:189] == b"G"):
        return _VIDEO
    if data[-18:] == b"TRUEVISION-XFILE.\0":
        return _Kind("a Targa picture (TGA)", _magick("tga"))
    return next((kind for start, kind in _BY_BEGINNING if head.startswith(start)), None)


def _brands(data: bytes) -> frozenset[bytes]:
    """The brands of an ISO media file (HEIF, AVIF, MP4), the major one and the compatible ones."""
    if data[4:8] != b"ftyp":
        return frozenset()
    end = min(int.from_bytes(data[:4], "big"), 256)
    compatible = (data[place : place + 4] for place in range(16, end - 3, 4))
    return frozenset({data[8:12], *compatible})


def _is_raw_tiff(data: bytes) -> bool:
    """Whether a TIFF is a camera's raw photo. Pillow would show the small picture that many have in
    front."""
    if data[:4] in (b"II*\0", b"MM\0*") and data[8:10] == b"CR":
        return True
    tags = tags_of(data) if opened_as(data) == "TIFF" else None
    if tags is None:
        return False
    if {*tags.numbers(PHOTOMETRIC)} & _RAW_PHOTOMETRIC:
        return True
    small = bool(next(iter(tags.numbers(SUBFILE_TYPE)), 0) & 1)
    raw = any(
        {*inner.numbers(PHOTOMETRIC)} & _RAW_PHOTOMETRIC
        or {*inner.numbers(COMPRESSION)} & _RAW_COMPRESSION
        for inner in tags.directories(SUB_IFDS)
    )
    return raw or (small and DNG_VERSION in tags)
