"""From rows to pictures with their questions, in the same way for every kind of table."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from engine.errors import BadInput
from engine.sweeps.sources.cells import Cell, cell_of
from engine.sweeps.sources.columns import ColumnReader, Row, no_picture_column
from engine.sweeps.sources.locating import TablePictures
from engine.sweeps.sources.placeholders import Placeholders
from engine.sweeps.sources.row_tasks import RowTasks
from engine.sweeps.sources.tasks import PictureTasks, Prompt
from engine.system.files import storable

Rows = Iterator[tuple[int, Mapping[str, Any], str]]
"""Numbers of rows, their values, and where they are, for messages."""


@dataclass(frozen=True)
class RowQuestions:
    """The pictures and questions of a table; can be iterated over repeatedly."""

    label: str
    """What embedded pictures are called, before the number of their row."""
    folder: Path
    """To which names of files are relative."""
    rows: Callable[[bool], Rows]
    """The rows, with what embedded pictures hold or with `Embedded` in its place."""
    tasks: RowTasks
    reader: Callable[[], ColumnReader]
    take_off: bool
    """Whether placeholders are taken off the questions."""
    numbered: bool
    """Whether all pictures are called by their row, not only those that are embedded."""
    read: Callable[[str, int], bytes]
    """The picture that is embedded in a row, given its label and number."""

    def __iter__(self) -> Iterator[PictureTasks]:
        return self._pictures(with_pictures=True)

    def listed(self) -> Iterator[PictureTasks]:
        """The same pictures; those that are embedded are read when they are asked for."""
        return self._pictures(with_pictures=False)

    def _pictures(self, with_pictures: bool) -> Iterator[PictureTasks]:
        columns = self.reader()
        placeholders = Placeholders(self.take_off)
        located = TablePictures(self.folder)
        for number, values, where in self.rows(with_pictures):
            row = bare(columns.row(number, values, where), placeholders)
            yield self._picture(row, cell_of(row.picture), located)

    def _picture(self, row: Row, cell: Cell, located: TablePictures) -> PictureTasks:
        tasks = self.tasks.tasks_of(row)
        numbered = f"{self.label}#{row.number}"
        if cell.data is not None:
            return PictureTasks(numbered, None, tasks, partial(_bytes, cell.data))
        if cell.embedded:
            return PictureTasks(numbered, None, tasks, partial(self.read, self.label, row.number))
        name = numbered if self.numbered else storable(cell.name) or numbered
        missing = lacking(cell)
        if missing:
            return PictureTasks(name, None, tasks, missing=missing)
        file = located.file(cell.name, row.where)
        if self.numbered or _is_direct(file, self.folder, cell.name):
            return PictureTasks(name, file, tasks)
        return PictureTasks(storable(file.relative_to(self.folder)), file, tasks, named=name)


@dataclass
class Survey:
    """What all rows of a table have in common, found by reading them once."""

    questions: RowQuestions
    columns: ColumnReader
    embedded: int
    notes: tuple[str, ...]


def survey(
    label: str,
    folder: Path,
    rows: Callable[[bool], Rows],
    read: Callable[[str, int], bytes],
    prompts: Sequence[Prompt],
    reader: Callable[[], ColumnReader],
    take_off: bool,
    numbered: bool,
    where: str,
    may_be_empty: bool = False,
) -> Survey | None:
    """Read all rows once, without embedded pictures, and decide which questions are asked.

    Raises BadInput where there are no rows, unless it `may_be_empty`, which gives None, or where
    there is no column for pictures; `where` is the table's name.
    """
    columns, placeholders = reader(), Placeholders(take_off)
    tasks = RowTasks(tuple(prompts), placeholders)
    pictures = embedded = 0
    first: Row | None = None
    names: list[str] = []
    for number, values, place in rows(False):
        if first is None:
            names = [str(name) for name in values]
        row = bare(columns.row(number, values, place), placeholders)
        first = first or row
        cell = cell_of(row.picture)
        pictures += cell != Cell()
        embedded += cell.embedded
        tasks.see(row)
    if first is None and may_be_empty:
        return None
    if first is None:
        raise BadInput(f"{where}: no lines in it" if not numbered else f"{where}: no rows in it")
    if not pictures and not numbered:
        if columns.has_picture(names):
            raise BadInput(f"{first.where}: no picture is named, nor in any other row")
        raise no_picture_column(where, names)
    tasks.unread_question = columns.unread_question
    questions = RowQuestions(label, folder, rows, tasks, reader, take_off, numbered, read)
    return Survey(questions, columns, embedded, (*columns.notes(), *tasks.notes(columns)))


def bare(row: Row, placeholders: Placeholders) -> Row:
    """A row whose question has no placeholder where the picture goes anyway."""
    prompt = placeholders.without(row.prompt) if row.prompt else ""
    return row if prompt == row.prompt else dataclasses.replace(row, prompt=prompt)


def lacking(cell: Cell) -> str:
    """Why a cell leads to no picture; empty where it names one or holds one."""
    if cell.address:
        return "an address, which is not opened: download the picture, and name its file"
    if cell.several:
        return "several pictures in one row: a question is about one"
    if cell.odd:
        return f"the column holds {cell.odd}, not pictures or their names"
    return "" if cell.name or cell.embedded else "no picture in the row"


def _bytes(data: bytes) -> bytes:
    return data


def _is_direct(file: Path, folder: Path, name: str) -> bool:
    """Whether a file is where its name says, so that the name stays as it is written."""
    try:
        return file == folder / Path(name).expanduser()
    except RuntimeError:
        return True
