"""Reads a folder of pictures: every question is asked about every picture."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from engine.errors import BadInput
from engine.pictures.kinds import ENDINGS
from engine.sweeps.sources.contents import beginning_of, is_picture
from engine.sweeps.sources.tasks import PictureTasks, Prompt, Source, asked_of_all, listed
from engine.sweeps.words import counted
from engine.system.files import reason_of, storable

CLOSED = (
    ".heic", ".heif", ".hif", ".jxl", ".svg", ".psd", ".raw", ".dng", ".cr2", ".cr3", ".nef",
    ".arw", ".orf", ".rw2", ".raf", ".exr", ".hdr", ".tga", ".ico", ".dcm", ".eps", ".pcx", ".dds",
    ".xcf",
)  # fmt: skip
"""How pictures are called whose kinds are not opened here."""
MOST_KINDS = 6
"""Kinds of left out files that are named; the others are counted."""


@dataclass
class _LeftOut:
    """What a folder has besides pictures that can be opened."""

    pictures: Counter[str] = field(default_factory=Counter)
    others: Counter[str] = field(default_factory=Counter)
    hidden: int = 0

    def notes(self) -> tuple[str, ...]:
        found = []
        if self.pictures:
            found.append(
                f"{counted(self.pictures.total(), 'picture')} left out, of kinds that are not "
                f"opened here: {_kinds(self.pictures)}; convert them to PNG or JPEG"
            )
        if self.others:
            found.append(
                f"{counted(self.others.total(), 'other file')} left out: {_kinds(self.others)}"
            )
        if self.hidden:
            words = "hidden files or folders" if self.hidden > 1 else "hidden file or folder"
            found.append(f"{self.hidden:,} {words} left out")
        return tuple(found)


def read_folder(folder: Path, prompts: Sequence[Prompt]) -> Source:
    """All pictures below a folder, sorted by name, without hidden files and folders.

    Raises BadInput where there are none.
    """
    left_out = _LeftOut()
    files = sorted(_pictures(folder, left_out))
    if not files:
        raise BadInput(
            "; ".join((f"{folder}: no pictures in it ({', '.join(ENDINGS)})", *left_out.notes()))
        )
    tasks = asked_of_all(prompts)
    return listed(
        "folder",
        folder,
        [PictureTasks(storable(file.relative_to(folder)), file, tasks) for file in files],
        notes=left_out.notes(),
    )


def has_pictures(folder: Path) -> bool:
    """Whether there is a picture below a folder. Raises BadInput where it cannot be listed."""
    return next(iter(_pictures(folder, _LeftOut())), None) is not None


def _pictures(folder: Path, left_out: _LeftOut) -> Iterator[Path]:
    def refuse(error: OSError) -> None:
        raise BadInput(f"{error.filename}: cannot be listed ({reason_of(error)})")

    for root, folders, names in os.walk(folder, onerror=refuse):
        left_out.hidden += sum(_is_hidden(name) for name in (*folders, *names))
        folders[:] = sorted(name for name in folders if not _is_hidden(name))
        for name in sorted(names):
            if _is_hidden(name):
                continue
            suffix = Path(name).suffix.lower()
            if suffix in ENDINGS:
                yield Path(root, name)
            elif suffix in CLOSED:
                left_out.pictures[suffix] += 1
            elif not suffix and _holds_picture(Path(root, name)):
                yield Path(root, name)
            else:
                left_out.others[suffix or "without a suffix"] += 1


def _is_hidden(name: str) -> bool:
    """Whether a file or folder is hidden, or kept by a system beside the user's own."""
    return name.startswith(".") or name in ("__MACOSX", "@eaDir", "Thumbs.db", "desktop.ini")


def _holds_picture(file: Path) -> bool:
    try:
        return is_picture(beginning_of(file))
    except BadInput:
        return False


def _kinds(counts: Counter[str]) -> str:
    listed = [f"{count:,} {kind}" for kind, count in counts.most_common()]
    more = f" and {len(listed) - MOST_KINDS} more kinds" if len(listed) > MOST_KINDS else ""
    return ", ".join(listed[:MOST_KINDS]) + more
