"""Reads the user's own list of questions: CSV or JSONL of `picture, prompt, answer, group`."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from engine.errors import BadInput, Remedy
from engine.sweeps.sources.tasks import (
    NO_GROUP,
    PictureTasks,
    Prompt,
    Source,
    Task,
    asked_of_all,
    listed,
    merged,
)
from engine.system.files import reason_of, storable, user_path

COLUMNS = ("picture", "prompt", "answer", "group")
PICTURE = ("picture", "image")
"""Names of the column with the pictures' file names."""
LONGEST_LINE = 2**20


def read_table(file: Path, prompts: Sequence[Prompt]) -> Source:
    """The questions of a table: one per line, or `prompts` about the picture of every line.

    Pictures are named relative to the file, or absolutely. Raises BadInput, naming the wrong line.
    """
    rows = _csv_rows(file) if file.suffix.lower() == ".csv" else _jsonl_rows(file)
    pictures = [_tasks_of(file, number, row, prompts) for number, row in rows]
    if not pictures:
        raise BadInput(f"{file}: no lines in it")
    return listed(file.suffix.lower().removeprefix("."), file, merged(pictures))


def task_of(row: Mapping[str, Any], prompts: Sequence[Prompt], where: str) -> tuple[Task, ...]:
    """The questions of one row of a table. Raises BadInput, saying `where` the row is."""
    values = {name: _text(row.get(name), f"{where}: {name}") for name in COLUMNS[1:]}
    group, truth = values["group"] or NO_GROUP, values["answer"] or None
    if values["prompt"]:
        return (Task(values["prompt"], group, truth),)
    if len(prompts) == 1:
        return (Task(prompts[0].text, values["group"] or prompts[0].group, truth),)
    if truth is not None and prompts:
        raise BadInput(f"{where}: this answer belongs to one of {len(prompts)} prompts: name which")
    if not prompts:
        raise BadInput(
            f"{where}: no prompt; give every line one, or name prompts for all",
            Remedy.NAME_PROMPTS,
        )
    return asked_of_all(prompts)


def _tasks_of(
    file: Path, number: int, row: Mapping[str, Any], prompts: Sequence[Prompt]
) -> PictureTasks:
    where = f"{file}, line {number}"
    column = next((each for each in PICTURE if row.get(each) is not None), PICTURE[0])
    name = _text(row.get(column), f"{where}: {column}")
    if not name:
        raise BadInput(f"{where}: no picture is named")
    try:
        picture = file.parent / user_path(name)
    except (OSError, ValueError) as error:
        raise BadInput(f"{where}: {name!r} is not a file name ({reason_of(error)})") from None
    return PictureTasks(storable(name), picture, task_of(row, prompts, where))


def _csv_rows(file: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream, strict=True)
            number = 1
            _refuse_columns(file, reader.fieldnames or ())
            for row in reader:
                number = reader.line_num
                if None in row:
                    raise BadInput(f"{file}, line {number}: more values than columns")
                yield number, row
    except csv.Error as error:
        raise BadInput(f"{file}, after line {number}: not CSV ({error})") from None
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{file}: cannot be read ({reason_of(error)})") from None


def _jsonl_rows(file: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    known: set[str] = set()
    try:
        with file.open("rb") as stream:
            for number, line in enumerate(iter(lambda: stream.readline(LONGEST_LINE), b""), 1):
                if not line.strip():
                    continue
                try:
                    row = msgspec.json.decode(line, type=dict[str, Any])
                except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                    raise BadInput(f"{file}, line {number}: not a JSON object ({error})") from None
                if not known >= row.keys():
                    _refuse_columns(file, [*row])
                    known |= row.keys()
                yield number, row
    except OSError as error:
        raise BadInput(f"{file}: cannot be read ({reason_of(error)})") from None


def _refuse_columns(file: Path, names: Sequence[str]) -> None:
    if not any(each in names for each in PICTURE):
        raise BadInput(
            f"{file}: no column `picture`; it has {', '.join(map(repr, names)) or 'none'}, "
            f"and could have {', '.join(COLUMNS)}"
        )


def _text(value: Any, where: str) -> str:
    if value is None:
        return ""
    if isinstance(value, (bool, dict, list)):
        raise BadInput(f"{where} is not text")
    return str(value)
