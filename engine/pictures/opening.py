"""The only way in for pictures: the user's files, and previews in sessions.

Allow-listed formats are decoded, up to a limit of pixels: the first frame, turned as EXIF says,
flattened on white, as RGB. Everything else is refused in one line.
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

from engine.errors import BadInput
from engine.records import Picture
from engine.system.files import read_file, storable

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
MAX_PIXELS = 100_000_000
MAX_BYTES = 256 * 2**20
PREVIEW_SIDE = 512
MAX_PREVIEW_PIXELS = 2**24
"""Of a preview, which may come from anyone: more than any processor makes of a picture."""
SAFE_PILLOW = (13, 0)
"""Older releases have known security holes in their decoders."""


@dataclass(frozen=True)
class DecodedPicture:
    """A picture in memory (RGB) and the SHA-256 of its file."""

    image: Image
    sha256: str


@dataclass(frozen=True)
class OpenedPicture:
    """A picture in memory (RGB) and its record."""

    image: Image
    record: Picture


def open_picture(path: str | Path) -> OpenedPicture:
    """Open a picture file. Raises BadInput, naming the file and what is wrong with it."""
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
    )
    return OpenedPicture(image, record)


def decode_picture(data: bytes, name: str) -> DecodedPicture:
    """Decode the content of a file, without a preview. Raises BadInput, naming it `name`."""
    if len(data) > MAX_BYTES:
        raise BadInput(f"{name}: {len(data):,} bytes; the limit for a picture is {MAX_BYTES:,}")
    return DecodedPicture(_decode(data, name), hashlib.sha256(data).hexdigest())


def open_preview(text: str) -> Image:
    """Open the base64 JPEG preview of a session file. Raises BadInput where it is not one."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise BadInput("the session's picture preview is not base64") from None
    return _decode(data, "the session's picture preview", MAX_PREVIEW_PIXELS)


def pillow_warning() -> str | None:
    """A warning with its remedy where the installed Pillow has known security holes, else None."""
    from importlib import metadata

    version = metadata.version("pillow")  # importing PIL would delay the first frame
    installed = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if installed >= SAFE_PILLOW:
        return None
    return (
        f"Pillow {version} has known decoder holes; "
        "update it: pip install --no-deps -U 'pillow>=13'"
    )


def _decode(data: bytes, name: str, most: int = MAX_PIXELS) -> Image:
    from PIL import Image, UnidentifiedImageError

    if not data:
        raise BadInput(f"{name}: an empty file, not a picture")
    try:
        with warnings.catch_warnings():
            # The limit below is ours; Pillow's own warning would only appear in the terminal.
            warnings.simplefilter("ignore")
            image = Image.open(io.BytesIO(data), formats=FORMATS)
            if image.width * image.height > most:
                raise BadInput(
                    f"{name}: {image.width} x {image.height} pixels; "
                    f"the limit is {most // 1_000_000} million"
                )
            image.seek(0)
            image.load()
            return _flatten(_turned(image))
    except BadInput:
        raise
    except UnidentifiedImageError:
        raise BadInput(f"{name}: not a picture ({', '.join(FORMATS)} can be opened)") from None
    except Image.DecompressionBombError:
        raise BadInput(
            f"{name}: too many pixels; the limit is {MAX_PIXELS // 1_000_000} million"
        ) from None
    except MemoryError:
        raise BadInput(f"{name}: the picture is too large for this machine's memory") from None
    except Exception as error:  # decoders may raise anything on damaged data
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BadInput(f"{name}: a damaged picture ({reason})") from None


def _turned(image: Image) -> Image:
    """The picture turned as its EXIF orientation says; unchanged where EXIF data are damaged."""
    from PIL import ImageOps

    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # whatever the EXIF parser fails on, the pixels are good
        return image


def _flatten(image: Image) -> Image:
    """The picture as RGB on white; 16-bit greys are scaled to 8 bits, not clipped."""
    from PIL import Image

    if image.mode.startswith("I"):
        wide = image.convert("I").convert("F")
        return wide.point(lambda value: value * (255.0 / 65535.0)).convert("RGB")
    if image.mode == "F":
        low, high = (float(value) for value in image.getextrema())  # type: ignore[arg-type]
        scale = 255.0 / ((high - low) or 1.0)
        return image.point(lambda value: value * scale - low * scale).convert("RGB")
    if "A" in image.getbands() or "transparency" in image.info:
        layered = image.convert("RGBA")
        canvas = Image.new("RGBA", layered.size, "white")
        canvas.alpha_composite(layered)
        return canvas.convert("RGB")
    return image.convert("RGB")


def _preview_of(image: Image) -> str:
    small = image.copy()
    small.thumbnail((PREVIEW_SIDE, PREVIEW_SIDE))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=80)
    return base64.b64encode(buffer.getvalue()).decode("ascii")
