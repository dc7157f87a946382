"""The small version of a picture that is drawn on the screen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from engine.errors import BadInput
from engine.records import Picture

if TYPE_CHECKING:
    from PIL.Image import Image

_LONG_SIDE: Final = 512
"""In pixels; of a preview too."""


def open_thumb(picture: Picture, *, of_run: bool) -> tuple[Image, Picture]:
    """Open a small version of a picture, from its preview if it has one; return it with its record.

    Raises BadInput if it cannot be opened, or, with `of_run`, if the file has another content than
    the picture that was asked about.
    """
    from engine.pictures.addresses import local_path
    from engine.pictures.opening import open_picture, open_preview

    if picture.preview:
        return open_preview(picture.preview), picture
    path = str(local_path(picture.path))
    opened = open_picture(path)
    if of_run and picture.sha256 not in ("", opened.record.sha256):
        raise BadInput(f"{picture.path}: the file has changed since this run was asked")
    image = opened.image
    image.thumbnail((_LONG_SIDE, _LONG_SIDE))
    # The record's own path has lost the bytes of a name that are not UTF-8.
    return image, replace(opened.record, path=path)
