"""Annotation files of published data: JSON that is checked, and file names that stay inside."""

from __future__ import annotations

from pathlib import Path, PurePath
from typing import TypeVar

import msgspec

from engine.errors import BadInput
from engine.system.files import read_file

MOST_BYTES = 4 * 2**30

Decoded = TypeVar("Decoded")


def decoded(file: Path, kind: type[Decoded]) -> Decoded:
    """A JSON file as records of this kind. Raises BadInput, saying what is wrong with it."""
    data = read_file(file, "annotation file", MOST_BYTES)
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadInput(f"{file}: not the annotations that it should hold ({error})") from None


def picture_file(folder: Path, places: tuple[str, ...], name: str) -> Path:
    """Where a picture that an annotation names lies: the first of `places` in which it is.

    Links that the user has made are followed. Raises BadInput for a name that leads elsewhere.
    """
    parts = PurePath(name).parts
    if PurePath(name).is_absolute() or ".." in parts or not parts or "\0" in name:
        raise BadInput(f"{folder}: an annotation names {name!r}, which is not inside the folder")
    candidates = [folder / place / name for place in places]
    return next((each for each in candidates if _is_file(each)), candidates[0])


def _is_file(file: Path) -> bool:
    try:
        return file.is_file()
    except OSError:  # a name longer than file names may be
        return False
