"""Pillow's decoders that are used: a list of those that only decode pixels.

Each is imported by name, once a file needs it. Pillow would otherwise import all its plugins to
find one, among them some that start other programs.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module

from engine.pictures.kinds import UPDATE_PILLOW

_PLUGINS = {
    "PNG": "PngImagePlugin",
    "JPEG": "JpegImagePlugin",
    "WEBP": "WebPImagePlugin",
    "GIF": "GifImagePlugin",
    "BMP": "BmpImagePlugin",
    "TIFF": "TiffImagePlugin",
    "AVIF": "AvifImagePlugin",
    "JPEG2000": "Jpeg2KImagePlugin",
    "PPM": "PpmImagePlugin",
}
_FEATURES = {"WEBP": "webp", "AVIF": "avif", "JPEG2000": "jpg_2000", "JPEG": "jpg", "PNG": "zlib"}
"""Pillow's names of what it may have been built without."""
_SINCE = {"AVIF": (11, 3)}
"""The first release of Pillow that decodes it."""


@cache
def cannot_decode(name: str) -> str | None:
    """Make the decoder of one of FORMATS ready. Returns why the installed Pillow has none, with the
    remedy, or None."""
    import PIL

    try:
        import_module(f"PIL.{_PLUGINS[name]}")
        if _is_built_in(_FEATURES.get(name)):
            return None
    except ImportError:
        pass
    version = PIL.__version__
    if tuple(map(int, version.split(".")[:2])) < _SINCE.get(name, (0, 0)):
        return f"a picture in {name}; Pillow {version} cannot decode it, update it: {UPDATE_PILLOW}"
    return (
        f"a picture in {name}, for which this Pillow ({version}) was not built; install its wheel "
        f"({UPDATE_PILLOW}), or convert the picture to PNG"
    )


def _is_built_in(feature: str | None) -> bool:
    from PIL import features

    tables = ((features.modules, features.check_module), (features.codecs, features.check_codec))
    for known, check in tables:
        if feature in known:
            return bool(check(str(feature)))
    return feature is None
