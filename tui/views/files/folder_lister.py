"""Lists a folder once, and a large one off the app's thread, for all the letters typed then."""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Callable
from itertools import islice
from operator import itemgetter
from typing import Final

from tui.widgets.background import in_thread

PICTURE_ENDINGS: Final = frozenset(
    {".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff"}
)
SESSION_ENDINGS: Final = (".json", ".html")
MOST_LISTED: Final = 200_000
"""Entries of a folder that are looked at."""
AT_ONCE: Final = 2_000
"""A folder of no more entries is listed before the next key; of a larger one, so many are."""
_MOST_SHOWN: Final = 300

Entry = tuple[bool, str, str]
"""Whether it is a file, its name in lower case, and its name: sorted, folders come first."""


class FolderLister:
    """Keeps the entries of the folder that was asked for last."""

    def __init__(self, more: Callable[[], object] = lambda: None) -> None:
        """`more` is called, in another thread, once the rest of a large folder is known."""
        self._more = more
        self._folder: str | None = None
        self._entries: list[Entry] = []

    def completions(self, typed: str) -> list[str]:
        """Return the known paths that complete the typed text: folders first, hidden ones only
        after a dot."""
        folder, _, stem = typed.rpartition("/")
        shown = f"{folder}/" if folder or typed.startswith("/") else ""
        if shown != self._folder:
            self._folder = shown
            self._entries, is_cut = scan(shown, AT_ONCE)
            if is_cut:
                in_thread(lambda: self._read_all(shown), lambda line: None)
        return [shown + name + ("" if is_file else "/") for is_file, name in self.starting(stem)]

    def starting(self, stem: str) -> list[tuple[bool, str]]:
        """Return the entries whose names start like this, whatever their case."""
        wanted, found = stem.lower(), list[tuple[bool, str]]()
        for is_file in (False, True):
            start = bisect_left(self._entries, (is_file, wanted), key=itemgetter(0, 1))
            for kind, lower, name in islice(self._entries, start, None):
                if kind != is_file or not lower.startswith(wanted) or len(found) >= _MOST_SHOWN:
                    break
                if stem.startswith(".") or not name.startswith("."):
                    found.append((is_file, name))
        return found

    def _read_all(self, folder: str) -> None:
        entries, _ = scan(folder, MOST_LISTED)
        if folder == self._folder:
            self._entries = entries
            self._more()


def scan(folder: str, most: int) -> tuple[list[Entry], bool]:
    """Return the folders, pictures and sessions among the first entries of a folder, sorted, and
    whether there are more entries; nothing where it cannot be read."""
    listed: list[Entry] = []
    try:
        with os.scandir(expand(folder) or ".") as found:
            for entry in islice(found, most):
                is_file = not _is_folder(entry)
                if not is_file or _is_ours(entry.name):
                    listed.append((is_file, entry.name.lower(), entry.name))
            is_cut = next(found, None) is not None
    except (OSError, ValueError):
        return [], False
    return sorted(listed), is_cut


def expand(path: str) -> str:
    """Return a path with its tilde resolved; unlike pathlib this never raises."""
    return os.path.expanduser(path)  # noqa: PTH111


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _is_ours(name: str) -> bool:
    ending = os.path.splitext(name)[1].lower()  # noqa: PTH122, a hundred thousand of them
    return ending in PICTURE_ENDINGS or ending in SESSION_ENDINGS
