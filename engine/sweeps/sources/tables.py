"""Reads the user's own list of questions: CSV, TSV, or JSON of `picture, prompt, answer, group`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from engine.errors import BadInput
from engine.sweeps.sources.cells import cell_of
from engine.sweeps.sources.columns import ColumnReader, no_picture_column
from engine.sweeps.sources.row_source import Rows, survey
from engine.sweeps.sources.row_tasks import one_truth_each
from engine.sweeps.sources.tasks import PictureTasks, Prompt, Source, listed, merged
from engine.sweeps.sources.text_rows import text_table

KINDS = ("csv", "tsv", "jsonl", "json")


def read_table(file: Path, prompts: Sequence[Prompt], take_off: bool = True) -> Source:
    """The questions of a table: one per line, or `prompts` about the picture of every line.

    Pictures are named relative to the file, or absolutely, or are in the table as base64. With
    `take_off`, a placeholder is taken off questions. Raises BadInput, naming the wrong line.
    """
    columns = ColumnReader()
    table = text_table(file, columns.has_picture)
    if table.kind in ("csv", "tsv") and not columns.has_picture(table.names):
        raise no_picture_column(str(file), table.names)

    def rows(with_pictures: bool) -> Rows:
        return table.rows()

    found = survey(
        file.name, file.parent, rows, partial(_embedded, file), prompts, ColumnReader, take_off,
        numbered=False, where=str(file),
    )  # fmt: skip
    assert found is not None
    notes = (*([table.note] if table.note else []), *found.notes)
    if found.embedded:
        # Their pictures are read again from the file, a row at a time.
        quickly = [_without_bytes(each, file) for each in found.questions.listed()]
        source = listed(table.kind, file, quickly, notes=notes)
        return dataclasses.replace(source, pictures=found.questions, quickly=quickly)
    pictures = merged(found.questions.listed())
    if found.questions.tasks.replaced:
        pictures = [
            dataclasses.replace(each, tasks=one_truth_each(each.tasks)) for each in pictures
        ]
    return listed(table.kind, file, pictures, notes=notes)


def embedded_in_table(file: Path, number: int) -> bytes | None:
    """The picture that is in a row of a table; None where there is none. Raises BadInput."""
    columns = ColumnReader()
    table = text_table(file, columns.has_picture)
    for found, values, where in table.rows():
        if found == number:
            return cell_of(columns.row(found, values, where).picture).data
    return None


def _embedded(file: Path, label: str, number: int) -> bytes:
    data = embedded_in_table(file, number)
    if data is None:
        raise BadInput(f"{label}#{number}: no picture in this row")
    return data


def _without_bytes(picture: PictureTasks, file: Path) -> PictureTasks:
    """The same picture, read from the file when it is asked for: a table may hold gigabytes."""
    if picture.read is None:
        return picture
    label, _, number = picture.path.rpartition("#")
    return dataclasses.replace(picture, read=partial(_embedded, file, label, int(number)))
