"""Finds a picture again that the data of a sweep holds, by the name that the sweep recorded."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from engine.sweeps.sources.contents import beginning_of, is_arrow, is_parquet
from engine.sweeps.sources.tables import KINDS as TABLE_KINDS
from engine.sweeps.sources.tables import embedded_in_table

KINDS = ("arrow", *TABLE_KINDS)
"""The kinds of data that can hold pictures."""


def embedded_picture(data: Path, name: str) -> bytes | None:
    """The bytes of the picture with this name in `PictureTasks.path`; None where the data (a file,
    or a folder of files) holds none.

    Raises BadInput where a file cannot be read.
    """
    beginning, _, number = name.rpartition("#")
    if not number.isdecimal() or len(number) > 18:
        return None
    file = _file(data, beginning)
    if file is None:
        return None
    first = beginning_of(file)
    if is_parquet(first) or is_arrow(first):
        from engine.sweeps.sources.arrow import embedded_in_arrow

        return embedded_in_arrow(file, int(number))
    return embedded_in_table(file, int(number))


def _file(data: Path, name: str) -> Path | None:
    """The file of the data that is called so in names of pictures."""
    if not data.is_dir():
        return data if name == data.name else None
    parts = PurePosixPath(name)
    if parts.is_absolute() or ".." in parts.parts or "\0" in name:
        return None
    file = data / parts
    return file if file.is_file() else None
