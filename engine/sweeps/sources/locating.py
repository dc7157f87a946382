"""Finds the pictures that annotations and tables name, on another machine than this one."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any, Final

from engine.errors import BadInput
from engine.system.files import reason_of, user_path

LONGEST_NAME: Final = 2**16
MOST_PARTS: Final = 12
"""Folders of a name that are tried as a path inside the folder, from the longest on."""
ID_SUFFIXES: Final = (".jpg", ".png", ".jpeg", ".webp", ".JPG")
MOST_SEARCHED: Final = 500
"""Pictures that are looked for beside a table in vain, before no more are."""
MOST_PLACES: Final = 40
MOST_LISTED: Final = 100_000
_DRIVE = re.compile(r"[A-Za-z]:[\\/]|\\\\")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*://[^/]*")


class PictureFiles:
    """Looks up names in a few places of one folder, and remembers where it found the last one.

    Tools write names as they were on the annotator's machine: absolute, of Windows, as addresses.
    Only the part of such a name that is a file inside the folder counts, so that no name leads out
    of it. The user's symbolic links are followed.
    """

    def __init__(self, folder: Path, places: Sequence[str]) -> None:
        """`places` are folders inside `folder`, the likeliest first."""
        self._folder = folder
        self._missing = places[0]
        """Where a picture should be that is in none of the places."""
        self._places = [each for each in dict.fromkeys(places) if _is_folder(folder / each)]
        self._last: tuple[str, int] | None = None
        """The place of the last one that was found, and how many parts its name had too many."""

    def file(self, name: str) -> Path | None:
        """The file with this name: in the first place where it is, else where it should be. None
        for a text that names no file at all."""
        spellings = _spellings(name)
        if not spellings:
            return None
        if self._last is not None:
            place, cut = self._last
            if cut < len(spellings) and is_file(self._folder / place / spellings[cut]):
                return self._folder / place / spellings[cut]
        for cut, spelling in enumerate(spellings):
            for place in self._places:
                if is_file(self._folder / place / spelling):
                    self._last = place, cut
                    return self._folder / place / spelling
        # Missing: of a name from elsewhere only the last part says something here.
        return self._folder / self._missing / (spellings[0] if _is_plain(name) else spellings[-1])

    def file_of_id(self, number: Any, split: str = "") -> Path | None:
        """The file of a picture that is known by a number, or another id, as COCO's and those of
        question sets about them are. None where there is no such file."""
        names = [str(number)] if isinstance(number, str) and "." in number else []
        text = str(number).strip()
        if text.isdecimal() and len(text) <= 12:
            if split:
                names.append(f"COCO_{split}_{int(text):012}.jpg")
                names.append(f"abstract_v002_{split}_{int(text):012}.png")
            names += [f"{int(text):012}.jpg"]
        names += [f"{text}{suffix}" for suffix in ID_SUFFIXES]
        for name in names:
            found = self.file(name)
            if found is not None and is_file(found):
                return found
        return None


class TablePictures:
    """Finds the pictures that a table names: absolute, relative to the table, or in a folder beside
    it, as benchmarks are distributed apart from their pictures."""

    def __init__(self, folder: Path) -> None:
        """`folder` is the table's."""
        self._folder = folder
        self._beside: PictureFiles | None = None
        self._searched = self._found = 0

    def file(self, name: str, where: str) -> Path:
        """The file that a name means, which may not be there. Raises BadInput where the text cannot
        be a file's name, saying `where`."""
        try:
            direct = self._folder / user_path(name)
        except (OSError, ValueError) as error:
            raise BadInput(f"{where}: {name!r} is not a file name ({reason_of(error)})") from None
        if "\0" in name:
            raise BadInput(f"{where}: {name!r} is not a file name (a zero byte)")
        if os.path.lexists(direct) or self._searched - self._found >= MOST_SEARCHED:
            return direct
        if self._beside is None:
            self._beside = PictureFiles(self._folder, _folders_beside(self._folder))
        self._searched += 1
        found = self._beside.file(name.strip())
        if found is None or not is_file(found):
            found = self._beside.file_of_id(name.strip())
        if found is None:
            return direct
        self._found += 1
        return found


def _folders_beside(folder: Path) -> list[str]:
    """The usual folders of pictures, and the others beside a table."""
    try:
        with os.scandir(folder) as listed:
            others = sorted(
                each.name
                for each in islice(listed, MOST_LISTED)
                if each.is_dir() and not each.name.startswith(".")
            )
    except OSError:
        others = []
    usual = ("images", "image", "pictures", "img", "imgs", "data")
    return [".", *usual, *(each for each in others if each not in usual)][:MOST_PLACES]


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def is_file(file: Path) -> bool:
    """Whether there is a file; not for a name that cannot be one."""
    try:
        return file.is_file()
    except (OSError, ValueError):  # too long, or in a folder that may not be searched
        return False


def _is_plain(name: str) -> bool:
    """Whether a name is relative and stays inside."""
    path = PurePosixPath(name)
    return not (
        path.is_absolute() or ".." in path.parts or _DRIVE.match(name) or _SCHEME.match(name)
    )


def _spellings(name: str) -> list[str]:
    """The relative names that a name can mean, the longest first; none leads out of a folder."""
    if not name.strip() or "\0" in name or len(name) > LONGEST_NAME:
        return []
    found = []
    if _is_plain(name):
        found.append(str(PurePosixPath(name)))
        if "\\" not in name:
            return [each for each in found if each != "."]
    text = _SCHEME.sub("", name).partition("?")[0] if _SCHEME.match(name) else name
    parts = [part for part in re.split(r"[\\/]+", text) if part not in ("", ".")]
    if ".." in parts:
        parts = parts[len(parts) - parts[::-1].index("..") :]
    if parts and re.fullmatch(r"[A-Za-z]:", parts[0]):
        del parts[0]
    starts = range(max(0, len(parts) - MOST_PARTS), len(parts))
    found += ["/".join(parts[start:]) for start in starts]
    return list(dict.fromkeys(found))
