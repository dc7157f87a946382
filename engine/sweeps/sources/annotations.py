"""Reads annotation files of published data: JSON is checked, and file names must stay inside."""

from __future__ import annotations

from pathlib import Path, PurePath
from typing import TypeVar

import msgspec

from engine.errors import BadInput
from engine.system.files import read_file

MOST_BYTES = 4 * 2**30

Decoded = TypeVar("Decoded")


def decoded(file: Path, kind: type[Decoded]) -> Decoded:
    """Decode a JSON file into records of this kind. Raises BadInput, saying what is wrong."""
    data = read_file(file, "annotation file", MOST_BYTES)
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadInput(f"{file}: not the expected annotations ({error})") from None


def picture_file(folder: Path, places: tuple[str, ...], name: str) -> Path:
    """The file of a picture that an annotation names: in the first of `places` that has it.

    The user's symbolic links are followed. Raises BadInput for a name that leads out of the folder.
    """
    parts = PurePath(name).parts
    if PurePath(name).is_absolute() or ".." in parts or not parts or "\0" in name:
        raise BadInput(f"{folder}: an annotation names {name!r}, which is not inside the folder")
    candidates = [folder / place / name for place in places]
    return next((each for each in candidates if _is_file(each)), candidates[0])


def _is_file(file: Path) -> bool:
    try:
        return file.is_file()
    except OSError:  # a name that is too long for a file
        return False
