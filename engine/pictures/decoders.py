"""Pillow's decoders that are used: a list of those that only decode pixels.

Each is imported by name. Pillow would otherwise import all its plugins to find one, among them some
that start other programs.
"""

from __future__ import annotations

from functools import cache

from engine.pictures.kinds import FORMATS, UPDATE_PILLOW

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
def decoders() -> tuple[str, ...]:
    """Those of FORMATS that the installed Pillow decodes."""
    from importlib import import_module

    found: list[str] = []
    for name in FORMATS:
        try:
            import_module(f"PIL.{_PLUGINS[name]}")
        except ImportError:
            continue
        if _is_built_in(name):
            found.append(name)
    return tuple(found)


def missing_decoder(name: str | None) -> str | None:
    """Why the installed Pillow does not open one of FORMATS, with the remedy; None where it does,
    and for no format."""
    if name is None or name in decoders():
        return None
    import PIL

    version = PIL.__version__
    if tuple(map(int, version.split(".")[:2])) < _SINCE.get(name, (0, 0)):
        return (
            f"an {name} picture, which Pillow {version} cannot decode; update it: {UPDATE_PILLOW}"
        )
    return (
        f"a picture in {name}, for which this Pillow ({version}) was not built; install its wheel "
        f"({UPDATE_PILLOW}), or convert the picture to PNG"
    )


def _is_built_in(name: str) -> bool:
    from PIL import features

    feature = _FEATURES.get(name)
    for table, check in (
        (features.modules, features.check_module),
        (features.codecs, features.check_codec),
    ):
        if feature in table:
            return bool(check(feature))
    return feature is None
