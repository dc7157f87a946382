"""Names of pictures whose bytes are not UTF-8.

JSON cannot hold them: what is stored is a text in which such bytes are replaced, and which several
files may share, and beside it the bytes, percent-encoded. Inside the program the exact name is a
text with surrogate escapes, as the operating system's names are in Python.
"""

from __future__ import annotations

import os
from urllib.parse import quote_from_bytes, unquote_to_bytes

from msgspec import UNSET, UnsetType

from engine.sweeps.sources.tasks import PictureTasks
from engine.system.files import storable


def exact_name(picture: PictureTasks) -> str:
    """The name of a picture, different for different files: its recorded name, if its bytes are
    UTF-8, else the same part of the file's own path."""
    if picture.file is None:
        return picture.path
    parts = picture.file.parts[-picture.path.count("/") - 1 :]
    exact = "/".join(parts)
    return exact if storable(exact) == picture.path else picture.path


def quoted(name: str) -> str | UnsetType:
    """What is stored beside a name that cannot be stored exactly; UNSET for all others."""
    return UNSET if storable(name) == name else quote_from_bytes(os.fsencode(name))


def unquoted(path: str, stored: str | UnsetType) -> str:
    """The exact name that was stored as `path` and `quoted`."""
    return path if stored is UNSET else os.fsdecode(unquote_to_bytes(stored))
