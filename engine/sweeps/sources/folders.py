"""Reads a folder of pictures: every question is asked about every picture."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from engine.errors import BadInput
from engine.sweeps.sources.tasks import PictureTasks, Prompt, Source, asked_of_all, listed
from engine.system.files import reason_of, storable

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff")


def read_folder(folder: Path, prompts: Sequence[Prompt]) -> Source:
    """All pictures below a folder, sorted by name. Raises BadInput where there are none."""
    files = sorted(_pictures(folder))
    if not files:
        raise BadInput(f"{folder}: no pictures in it ({', '.join(SUFFIXES)})")
    tasks = asked_of_all(prompts)
    return listed(
        "folder",
        folder,
        [PictureTasks(storable(file.relative_to(folder)), file, tasks) for file in files],
    )


def _pictures(folder: Path) -> list[Path]:
    def refuse(error: OSError) -> None:
        raise BadInput(f"{error.filename}: cannot be listed ({reason_of(error)})")

    found: list[Path] = []
    for root, folders, names in os.walk(folder, onerror=refuse):
        folders.sort()
        found += [Path(root, name) for name in names if name.lower().endswith(SUFFIXES)]
    return found
