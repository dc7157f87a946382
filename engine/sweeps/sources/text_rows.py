"""Rows of tables that are text: delimited (CSV, TSV and what Excel calls so), and JSON in lines, as
an array, or inside an object."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TextIO

import msgspec

from engine.errors import BadInput
from engine.sweeps.sources.json_text import ERRORS, decode, json_of, values_in
from engine.sweeps.sources.texts import Encoding, encoding_of
from engine.system.files import reason_of

LONGEST_LINE: Final = 2**27
"""Characters of a line or cell: a cell may be a picture."""
SEPARATORS: Final = (",", ";", "\t", "|")
MOST_STREAMED: Final = 2**28
"""Bytes of a file whose JSON values are neither an array nor a value a line."""
_SEPARATOR_LINE = re.compile(r'"?sep=(.)"?\s*\Z', re.IGNORECASE)

Rows = Iterator[tuple[int, Mapping[str, Any], str]]
HasPicture = Callable[[Sequence[Any]], bool]


@dataclass(frozen=True)
class TextTable:
    """A table in a text file, whose rows can be read repeatedly."""

    kind: str
    """csv, tsv, jsonl or json."""
    file: Path
    rows: Callable[[], Rows]
    names: tuple[str, ...]
    """The columns, as far as they are known before rows are read."""
    note: str = ""
    """What was guessed about the file."""


def text_table(file: Path, has_picture: HasPicture) -> TextTable:
    """Recognise the table in a text file; `has_picture` knows the columns that name pictures.

    Raises BadInput, naming what cannot be read.
    """
    encoding = encoding_of(file)
    beginning = _beginning(file, encoding).lstrip("\ufeff \t\r\n")
    if beginning[:1] not in ("{", "["):
        return _delimited(file, encoding, has_picture)
    if _is_lines(file, encoding, beginning[:1]):
        return TextTable("jsonl", file, lambda: _lines(file, encoding), (), encoding.note)
    return TextTable("json", file, lambda: _whole(file, has_picture), (), encoding.note)


def _is_array(file: Path) -> bool:
    """Whether a file is an array of objects."""
    try:
        found = decode(json_of(file, "table"), list[msgspec.Raw])
    except ERRORS:
        return False
    return bool(found) and bytes(found[0])[:1] == b"{"


def _beginning(file: Path, encoding: Encoding) -> str:
    try:
        with file.open(encoding=encoding.name) as stream:
            return stream.read(4096)
    except OSError as error:
        raise BadInput(f"{file}: cannot be read ({reason_of(error)})") from None


# Delimited


def _delimited(file: Path, encoding: Encoding, has_picture: HasPicture) -> TextTable:
    csv.field_size_limit(LONGEST_LINE)
    with _open(file, encoding) as stream:
        first = stream.readline(LONGEST_LINE)
        named = _SEPARATOR_LINE.match(first.lstrip("\ufeff"))
        skipped = 1 if named is not None else 0
        separators = (named[1],) if named is not None else SEPARATORS
    headers = {mark: _header(file, encoding, mark, skipped) for mark in separators}
    best = max(separators, key=lambda mark: (has_picture(headers[mark]), len(headers[mark])))
    names = headers[best]
    # A header with spaces after its separators has them in every line.
    spaced = sum(name.startswith(" ") for name in names[1:]) * 2 > len(names) - 1 > 0
    kind = "tsv" if best == "\t" else "csv"

    def rows() -> Rows:
        return _csv_rows(file, encoding, best, spaced, skipped)

    return TextTable(kind, file, rows, tuple(name for name in names if name.strip()), encoding.note)


def _open(file: Path, encoding: Encoding) -> TextIO:
    try:
        return file.open(newline="", encoding=encoding.name)
    except OSError as error:
        raise BadInput(f"{file}: cannot be read ({reason_of(error)})") from None


def _header(file: Path, encoding: Encoding, separator: str, skipped: int) -> list[str]:
    with _open(file, encoding) as stream:
        for _ in range(skipped):
            stream.readline(LONGEST_LINE)
        try:
            names = next(csv.reader(stream, delimiter=separator, strict=True), [])
        except csv.Error:
            return []
    return [name.strip("\ufeff") for name in names]


def _csv_rows(file: Path, encoding: Encoding, separator: str, spaced: bool, skipped: int) -> Rows:
    number = 1
    try:
        with _open(file, encoding) as stream:
            for _ in range(skipped):
                stream.readline(LONGEST_LINE)
            reader = csv.reader(stream, delimiter=separator, skipinitialspace=spaced, strict=True)
            names = [name.strip("\ufeff") for name in next(reader, [])]
            for values in reader:
                number = reader.line_num + skipped
                if not any(value.strip() for value in values):
                    continue  # spreadsheets end with such lines
                if any(value.strip() for value in values[len(names) :]):
                    raise BadInput(f"{file}, line {number}: more values than columns")
                padded = [*values, *[None] * (len(names) - len(values))]
                yield number, dict(zip(names, padded, strict=False)), f"{file}, line {number}"
    except csv.Error as error:
        raise BadInput(f"{file}, after line {number}: not CSV ({error})") from None
    except (OSError, UnicodeError) as error:
        raise BadInput(f"{file}: cannot be read ({reason_of(error)})") from None


# JSON


def _is_lines(file: Path, encoding: Encoding, opening: str) -> bool:
    """Whether a file is JSON in lines: the first one is a whole object and is followed by others.

    An object alone on its line may be a set of annotations, and is read as a whole unless the
    file's name says that it has lines.
    """
    named = file.suffix.lower() in (".jsonl", ".ndjson")
    with _open(file, encoding) as stream:
        lines = (line for line in iter(lambda: stream.readline(LONGEST_LINE), "") if line.strip())
        first, second = _bare(next(lines, "")), next(lines, "")
    if opening == "[":
        # Lines of arrays are no rows: reading them says so.
        return named and first != "[" and not _is_array(file)
    try:
        decode(first.encode("utf-8", "replace"), dict[str, msgspec.Raw])
    except ERRORS:
        return named and first != "{"  # else it is one object in several lines
    return named or bool(second)


def _bare(line: str) -> str:
    return line.strip("\ufeff \t\r\n\x1e").rstrip(",")


def _lines(file: Path, encoding: Encoding) -> Rows:
    try:
        with _open(file, encoding) as stream:
            lines = enumerate(iter(lambda: stream.readline(LONGEST_LINE), ""), 1)
            for number, line in lines:
                bare = _bare(line)
                if not bare:
                    continue
                where = f"{file}, line {number}"
                try:
                    row = decode(bare.encode("utf-8", "surrogatepass"), dict[str, Any])
                except ERRORS as error:
                    raise BadInput(f"{where}: not a JSON object ({error})") from None
                yield number, row, where
    except OSError as error:
        raise BadInput(f"{file}: cannot be read ({reason_of(error)})") from None


def _whole(file: Path, has_picture: HasPicture) -> Rows:
    """Rows of a file that is one JSON value, or several that are spread over lines."""
    data = json_of(file, "table")
    found: Sequence[Any] | None = None
    try:
        if data.lstrip()[:1] == b"[":
            found = decode(data, list[msgspec.Raw])
        else:
            found = _records(decode(data, dict[str, msgspec.Raw]), has_picture)
    except msgspec.ValidationError as error:
        raise BadInput(f"{file}: not a table in JSON ({error})") from None
    except ERRORS as error:
        if data.lstrip()[:1] == b"[" or len(data) > MOST_STREAMED:
            raise BadInput(f"{file}: not JSON ({error})") from None
    if found is None:
        for number, value in enumerate(values_in(data.decode("utf-8", "replace"), str(file)), 1):
            where = f"{file}, record {number}"
            if not isinstance(value, dict):
                raise BadInput(f"{where}: not a JSON object")
            yield number, value, where
        return
    del data
    for number, raw in enumerate(found, 1):
        where = f"{file}, record {number}"
        try:
            yield number, msgspec.json.decode(raw, type=dict[str, Any]), where
        except ERRORS as error:
            raise BadInput(f"{where}: not a JSON object ({error})") from None


def _records(whole: Mapping[str, msgspec.Raw], has_picture: HasPicture) -> Sequence[msgspec.Raw]:
    """The rows inside an object: a list of them under some name, or the object's own values; the
    object itself where it is a row."""
    if has_picture([*whole]):
        lists = _columns(whole)
        return lists if lists is not None else [msgspec.Raw(msgspec.json.encode(whole))]
    for raw in whole.values():
        if bytes(raw)[:1] == b"[":
            try:
                rows = msgspec.json.decode(raw, type=list[msgspec.Raw])
                names = [*msgspec.json.decode(rows[0], type=dict[str, msgspec.Raw])] if rows else []
            except ERRORS:
                continue
            if has_picture(names):
                return rows
    by_id = [raw for raw in whole.values() if bytes(raw)[:1] == b"{"]
    return by_id if len(by_id) == len(whole) else [msgspec.Raw(msgspec.json.encode(whole))]


def _columns(whole: Mapping[str, msgspec.Raw]) -> list[msgspec.Raw] | None:
    """The rows of a table that is written column by column, as pandas does; None for others."""
    columns: dict[str, dict[Any, msgspec.Raw]] = {}
    try:
        for name, raw in whole.items():
            if bytes(raw)[:1] == b"[":
                columns[name] = dict(enumerate(msgspec.json.decode(raw, type=list[msgspec.Raw])))
            else:
                columns[name] = msgspec.json.decode(raw, type=dict[Any, msgspec.Raw])
    except ERRORS:
        return None
    keys = next(iter(columns.values())).keys()
    if not keys or any(each.keys() != keys for each in columns.values()):
        return None
    return [
        msgspec.Raw(msgspec.json.encode({name: column[key] for name, column in columns.items()}))
        for key in keys
    ]
