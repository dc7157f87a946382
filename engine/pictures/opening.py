"""The only way in for pictures: the user's files, and previews in sessions.

Allow-listed formats are decoded, up to a limit of pixels: the first frame, turned as EXIF says,
flattened on white, as RGB. What had to be chosen is noted in the picture's record. Everything else
is refused in one line that says what it is and what to do.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import BadInput, one_line
from engine.pictures.addresses import local_path
from engine.pictures.decoders import cannot_decode
from engine.pictures.kinds import UPDATE_PILLOW, described, opened_as, refusal
from engine.pictures.metadata import lean
from engine.pictures.ranges import eight_bits, is_wide, samples_of
from engine.records import Picture
from engine.system.files import read_file, storable

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_PIXELS = 100_000_000
MAX_BYTES = 256 * 2**20
PREVIEW_SIDE = 512
SHORTEST = 16
"""Bytes: what begins like a picture and is shorter is none."""
MAX_PREVIEW_PIXELS = 2**24
"""Of a preview, which may come from anyone: more than any processor makes of a picture."""
SAFE_PILLOW = (13, 0)
"""Older releases have known security holes in their decoders."""


@dataclass(frozen=True)
class DecodedPicture:
    """A picture in memory (RGB) and the SHA-256 of its file."""

    image: Image
    sha256: str
    note: str | None = None
    """What the user has to know about how it is shown."""


@dataclass(frozen=True)
class OpenedPicture:
    """A picture in memory (RGB) and its record."""

    image: Image
    record: Picture


def open_picture(path: str | Path) -> OpenedPicture:
    """Open a picture file, which may be named by a file:// address. Raises BadInput, naming the
    file and what is wrong with it."""
    path = local_path(path)
    return picture_from(read_file(path, "picture", MAX_BYTES), storable(path))


def picture_from(data: bytes, name: str) -> OpenedPicture:
    """Decode the content of a file, with its record. Raises BadInput, naming it `name`."""
    decoded = decode_picture(data, name)
    image = decoded.image
    record = Picture(
        path=name,
        sha256=decoded.sha256,
        width=image.width,
        height=image.height,
        preview=_preview_of(image),
        note=decoded.note,
    )
    return OpenedPicture(image, record)


def decode_picture(data: bytes, name: str) -> DecodedPicture:
    """Decode the content of a file, without a preview. Raises BadInput, naming it `name`."""
    if len(data) > MAX_BYTES:
        raise BadInput(f"{name}: {len(data):,} bytes; the limit for a picture is {MAX_BYTES:,}")
    try:
        image, note = _decode(data)
    except BadInput as error:
        raise BadInput(f"{name}: {error}", *error.remedies) from None
    return DecodedPicture(image, hashlib.sha256(data).hexdigest(), note)


def open_preview(text: str) -> Image:
    """Open the base64 JPEG preview of a session file. Raises BadInput where it is not one."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise BadInput("the session's picture preview is not base64") from None
    try:
        return _decode(data, MAX_PREVIEW_PIXELS)[0]
    except BadInput as error:
        raise BadInput(f"the session's picture preview: {error}") from None


def pillow_warning() -> str | None:
    """A warning with its remedy where the installed Pillow has known security holes, else None."""
    from importlib import metadata

    version = metadata.version("pillow")  # importing PIL would delay the first frame
    installed = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if installed >= SAFE_PILLOW:
        return None
    return f"Pillow {version} has known decoder holes; update it: {UPDATE_PILLOW}"


def _decode(data: bytes, most: int = MAX_PIXELS) -> tuple[Image, str | None]:
    """The picture as RGB, and what the user has to know about it. Raises BadInput."""
    from PIL import Image, UnidentifiedImageError

    kind = opened_as(data)
    reason = refusal(data) or (described(data) if kind is None else cannot_decode(kind))
    if kind is None or reason is not None:
        raise BadInput(str(reason))
    try:
        with warnings.catch_warnings():
            # The limit below is ours; Pillow's own warning would only appear in the terminal.
            warnings.simplefilter("ignore")
            image = Image.open(io.BytesIO(lean(data)), formats=(kind,))
            if image.width * image.height > most:
                raise BadInput(
                    f"{image.width} x {image.height} pixels; "
                    f"the limit is {most // 1_000_000} million"
                )
            image.seek(0)
            image.load()
            return _flatten(image)
    except BadInput:
        raise
    except UnidentifiedImageError:
        raise BadInput(_unidentified(data, kind)) from None
    except Image.DecompressionBombError:
        raise BadInput(f"too many pixels; the limit is {MAX_PIXELS // 1_000_000} million") from None
    except MemoryError:
        raise BadInput("the picture is too large for this machine's memory") from None
    except Exception as error:  # decoders may raise anything on damaged data
        raise BadInput(f"a damaged picture ({one_line(error)})") from None


def _unidentified(data: bytes, kind: str) -> str:
    """What to say of a file that begins like a picture of this kind, and is none."""
    if len(data) < SHORTEST:
        return described(data)
    what = f"{'an' if kind[0] == 'A' else 'a'} {kind}"
    rare = " (many bands, or floats in several)" if kind == "TIFF" else ""
    return (
        f"{what} picture that is damaged, or of a kind that Pillow cannot decode{rare}: "
        "convert it to an 8-bit PNG first"
    )


def _turned(image: Image) -> Image:
    """The picture turned as its EXIF orientation says; unchanged where EXIF data are damaged."""
    from PIL import ImageOps

    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # whatever the EXIF parser fails on, the pixels are good
        return image


def _flatten(image: Image) -> tuple[Image, str | None]:
    """The picture as RGB on white, turned, and what the user has to know about it."""
    from PIL import Image

    samples = samples_of(image)
    image = _turned(image)
    if is_wide(image):
        return eight_bits(image, samples)
    if "A" in image.getbands() or "transparency" in image.info:
        layered = image.convert("RGBA")
        opaque = layered.getchannel("A").getextrema()[1]
        canvas = Image.new("RGBA", layered.size, "white")
        canvas.alpha_composite(layered)
        note = None if opaque else "all of it is transparent: shown white"
        return canvas.convert("RGB"), note
    try:
        return image.convert("RGB"), None
    except ValueError:
        raise BadInput(f"its colours ({image.mode}) cannot be converted; save it as RGB") from None


def _preview_of(image: Image) -> str:
    small = image.copy()
    small.thumbnail((PREVIEW_SIDE, PREVIEW_SIDE))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=80)
    return base64.b64encode(buffer.getvalue()).decode("ascii")
