"""Reads Parquet and Arrow files, and several that belong together, as `datasets` writes them: with
a column of pictures, or of their names."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from engine.errors import BadInput
from engine.pictures.opening import MAX_BYTES
from engine.sweeps.sources.cells import cell_of
from engine.sweeps.sources.locating import TablePictures
from engine.sweeps.sources.row_source import RowQuestions, lacking, survey
from engine.sweeps.sources.tasks import PictureTasks, Prompt, Source
from engine.system.files import read_file

TAIL = 2**16
"""Bytes at the end of a file that tell it from others: a Parquet file has its metadata there."""


def read_arrow(file: Path, prompts: Sequence[Prompt], take_off: bool = True) -> Source:
    """The questions of a Parquet or Arrow file, of which a few rows are read at a time.

    The picture is a column of bytes, of `{bytes, path}`, of names, of base64, or of lists with one
    of these; columns are known by the names that all tables may use. Raises BadInput.
    """
    return read_shards(file, [file], prompts, take_off)


def read_shards(
    data: Path,
    files: Sequence[Path],
    prompts: Sequence[Prompt],
    take_off: bool = True,
    notes: tuple[str, ...] = (),
) -> Source:
    """The questions of several files, one after the other, that the folder `data` has; or of the
    one file `data`. Raises BadInput, naming what cannot be read."""
    from engine.sweeps.sources.arrow_rows import ArrowFile

    _need_pyarrow(data)
    parts: list[RowQuestions] = []
    said: dict[str, None] = dict.fromkeys(notes)
    pictures = items = 0
    digest = hashlib.sha256()
    for file in files:
        opened = ArrowFile(file)
        label = file.name if file == data else file.relative_to(data).as_posix()
        found = survey(
            label, file.parent, opened.rows, partial(_embedded, file), prompts, opened.reader,
            take_off, numbered=True, where=str(file), may_be_empty=len(files) > 1,
        )  # fmt: skip
        if found is None:
            continue
        said.update(dict.fromkeys(found.notes))
        parts.append(found.questions)
        counts = [len(picture.tasks) for picture in found.questions.listed()]
        pictures, items = pictures + len(counts), items + sum(counts)
        size = file.stat().st_size
        name = "" if file == data else f"{label} "
        digest.update(f"{name}{size} {len(counts)} {sum(counts)} ".encode("utf-8", "replace"))
        with file.open("rb") as stream:
            stream.seek(max(0, size - TAIL))
            digest.update(stream.read())
    if not items:
        raise BadInput(f"{data}: no rows in it")
    whole = _Parts(tuple(parts))
    return Source(
        "arrow",
        str(data.absolute()),
        whole,
        digest.hexdigest(),
        pictures,
        items,
        quickly=_Listing(whole),
        notes=tuple(said),
    )


def embedded_in_arrow(file: Path, number: int) -> bytes | None:
    """The picture in a row of a file, or in the file that the row names; None where there is none.
    Raises BadInput."""
    from engine.sweeps.sources.arrow_rows import ArrowFile

    _need_pyarrow(file)
    opened = ArrowFile(file)
    columns = opened.reader()
    for found, values, where in opened.rows(with_pictures=True, first=number):
        if found == number:
            cell = cell_of(columns.row(found, values, where).picture)
            if cell.data is not None or lacking(cell):
                return cell.data
            named = TablePictures(file.parent).file(cell.name, where)
            return read_file(named, "picture", MAX_BYTES)
    return None


class _Parts:
    """The pictures of several files, one after the other."""

    def __init__(self, parts: tuple[RowQuestions, ...]) -> None:
        self._parts = parts

    def __iter__(self) -> Iterator[PictureTasks]:
        for part in self._parts:
            yield from part

    def listed(self) -> Iterator[PictureTasks]:
        for part in self._parts:
            yield from part.listed()


class _Listing:
    """The same pictures, listed quickly."""

    def __init__(self, parts: _Parts) -> None:
        self._parts = parts

    def __iter__(self) -> Iterator[PictureTasks]:
        return self._parts.listed()


def _need_pyarrow(data: Path) -> None:
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        raise BadInput(
            f"{data}: reading it needs pyarrow: pip install 'lenscope[report]'"
        ) from None


def _embedded(file: Path, label: str, number: int) -> bytes:
    data = embedded_in_arrow(file, number)
    if data is None:
        raise BadInput(f"{label}#{number}: no picture in this row")
    return data
