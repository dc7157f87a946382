"""Recognises what Git leaves in place of a large file that was not downloaded."""

from __future__ import annotations

from pathlib import Path

from engine.errors import CannotLoad
from engine.system.files import GIT_LFS_POINTER

_LARGEST = 2048
"""Bytes; a pointer is three to five short lines."""


def is_pointer(file: Path) -> bool:
    """Whether a file is a pointer of Git LFS. False for what cannot be read."""
    try:
        if not file.is_file() or file.stat().st_size > _LARGEST:
            return False
        with file.open("rb") as stream:
            return stream.read(len(GIT_LFS_POINTER)) == GIT_LFS_POINTER
    except OSError:
        return False


def refuse_pointers(files: list[Path]) -> None:
    """Raise CannotLoad if one of the files is a pointer."""
    pointers = [file for file in files if is_pointer(file)]
    if pointers:
        more = f" and {len(pointers) - 1} more" if len(pointers) > 1 else ""
        raise CannotLoad(
            f"{pointers[0].name}{more}: a Git LFS pointer, not the file itself; "
            f"run `git lfs pull` in {pointers[0].parent}"
        )
