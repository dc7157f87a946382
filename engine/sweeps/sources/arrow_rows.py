"""Rows of one Parquet or Arrow file, a few at a time, with or without the pictures in it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec

from engine.errors import BadInput
from engine.sweeps.sources.cells import Embedded
from engine.sweeps.sources.columns import ColumnReader, no_picture_column
from engine.sweeps.sources.contents import beginning_of, is_arrow, is_parquet
from engine.sweeps.sources.row_source import Rows
from engine.system.files import reason_of

if TYPE_CHECKING:
    from pyarrow import RecordBatch, Schema

ROWS_AT_ONCE: Final = 16
EMBEDDED: Final = Embedded()
MOST_NAMES: Final = 100_000
"""Classes of a label column."""


class ArrowFile:
    """A Parquet or Arrow file, by its content and not by its name. Raises BadInput where it is
    neither."""

    def __init__(self, file: Path) -> None:
        import pyarrow

        self.file = file
        try:
            schema = _opened(file).schema
        except (pyarrow.ArrowException, OSError, UnicodeError) as error:
            raise BadInput(f"{file}: cannot be read ({reason_of(error)})") from None
        self.names = tuple(schema.names)
        self.classes = _classes(schema)
        """From a column to the names of the classes that its numbers mean."""
        self.pictures = tuple(
            name for name in self.names if _may_hold_pictures(schema.field(name).type)
        )
        """Columns that can hold pictures, whatever they are called."""
        columns = self.reader()
        if not columns.has_picture(self.names):
            raise no_picture_column(str(file), self.names)
        texts = [name for name in self.names if _is_text(schema.field(name).type)]
        self._wanted = columns.needed(self.names, texts)

    def reader(self) -> ColumnReader:
        """A reader that knows this file's columns."""
        columns = ColumnReader(self.classes, self.pictures)
        columns.note_unread(self.names)
        return columns

    def rows(self, with_pictures: bool, first: int = 0) -> Rows:
        """Rows with their numbers, from `first` on or from up to `ROWS_AT_ONCE` rows before it;
        without pictures, `EMBEDDED` stands for what a cell holds. Raises BadInput."""
        import pyarrow

        try:
            opened = _opened(self.file)  # several iterations may go on at a time
            held = frozenset() if with_pictures else opened.held()
            read = [name for name in self._wanted if name not in held]
            number, batches = opened.batches(read, first)
            for batch in batches:
                if number + batch.num_rows <= first:
                    number += batch.num_rows
                    continue
                begin = max(0, first - number) // ROWS_AT_ONCE * ROWS_AT_ONCE
                number += begin
                for start in range(begin, batch.num_rows, ROWS_AT_ONCE):
                    part = batch.slice(start, ROWS_AT_ONCE)
                    cells = {
                        name: [EMBEDDED] * part.num_rows
                        if name in held
                        else _cells(part.column(part.schema.get_field_index(name)), with_pictures)
                        for name in self._wanted
                    }
                    for index in range(part.num_rows):
                        row = {name: values[index] for name, values in cells.items()}
                        yield number, row, f"{self.file}, row {number}"
                        number += 1
        except (pyarrow.ArrowException, OSError, UnicodeError) as error:
            raise BadInput(f"{self.file}: cannot be read ({reason_of(error)})") from None


class _Opened(Protocol):
    schema: Schema

    def held(self) -> frozenset[str]:
        """The columns of which every cell is known to hold a picture, without reading them."""
        ...

    def batches(self, names: Sequence[str], first: int) -> tuple[int, Iterator[RecordBatch]]:
        """The number of the first row that is read, and batches with these columns at least."""
        ...


class _Parquet:
    def __init__(self, file: Path) -> None:
        from pyarrow import parquet

        self._table = parquet.ParquetFile(file)
        self.schema = self._table.schema_arrow

    def held(self) -> frozenset[str]:
        metadata = self._table.metadata
        found = set()
        for index in range(metadata.num_columns):
            path = metadata.schema.column(index).path
            name = path.removesuffix(".bytes")
            if name not in self.schema.names or not _may_hold_pictures(
                self.schema.field(name).type
            ):
                continue
            if path == name and not _is_binary(self.schema.field(name).type):
                continue
            groups = (metadata.row_group(each) for each in range(metadata.num_row_groups))
            counts = [group.column(index).statistics for group in groups]
            if all(each is not None and each.has_null_count and not each.null_count
                   for each in counts):  # fmt: skip
                found.add(name)
        return frozenset(found)

    def batches(self, names: Sequence[str], first: int) -> tuple[int, Iterator[RecordBatch]]:
        groups, number = [*range(self._table.num_row_groups)], 0
        while groups and number + self._table.metadata.row_group(groups[0]).num_rows <= first:
            number += self._table.metadata.row_group(groups.pop(0)).num_rows
        # A batch without columns would not know how many rows it has.
        columns = [*names] or [_smallest(self.schema)]
        return number, self._table.iter_batches(ROWS_AT_ONCE, row_groups=groups, columns=columns)


class _Arrow:
    def __init__(self, file: Path) -> None:
        import pyarrow

        source = pyarrow.memory_map(str(file))
        self._stream: Any = None
        self._whole: Any = None
        try:
            self._stream = pyarrow.ipc.open_stream(source)  # `datasets` writes streams
        except pyarrow.ArrowInvalid:
            self._whole = pyarrow.ipc.open_file(source)
        self.schema: Schema = (self._stream or self._whole).schema

    def held(self) -> frozenset[str]:
        return frozenset()  # whether a cell is empty is known without reading it

    def batches(self, names: Sequence[str], first: int) -> tuple[int, Iterator[RecordBatch]]:
        if self._whole is not None:
            whole = self._whole
            return 0, (whole.get_batch(index) for index in range(whole.num_record_batches))
        return 0, iter(self._stream)


def _opened(file: Path) -> _Opened:
    beginning = beginning_of(file)
    if is_parquet(beginning):
        return _Parquet(file)
    if is_arrow(beginning):
        return _Arrow(file)
    return _Parquet(file) if file.suffix.lower() == ".parquet" else _Arrow(file)


def _smallest(schema: Schema) -> str:
    """A column that is quickly read: of numbers, if there is one."""
    from pyarrow import types

    names: list[str] = list(schema.names)
    return next((name for name in names if types.is_primitive(schema.field(name).type)), names[0])


def _cells(column: Any, with_pictures: bool) -> list[Any]:
    """The values of a column of a few rows; without pictures, `EMBEDDED` in place of bytes."""
    from pyarrow import compute, types

    kind = column.type
    if _is_array_of_numbers(kind):
        # Not decoded: it is none of the pictures that are read, and may be millions of numbers.
        return [[0.0, 0.0] if valid else None for valid in column.is_valid().to_pylist()]
    if with_pictures:
        return list(column.to_pylist())
    if _is_binary(kind):
        return [EMBEDDED if valid else None for valid in column.is_valid().to_pylist()]
    if types.is_struct(kind) and _may_hold_pictures(kind):
        names = [kind.field(index).name for index in range(kind.num_fields)]
        fields = {name: _cells(compute.struct_field(column, name), with_pictures) for name in names}
        return [
            {name: values[index] for name, values in fields.items()} for index in range(len(column))
        ]
    return list(column.to_pylist())


def _is_binary(kind: Any) -> bool:
    from pyarrow import types

    return bool(
        types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind)
        or types.is_binary_view(kind)
    )  # fmt: skip


def _is_text(kind: Any) -> bool:
    from pyarrow import types

    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))


def _may_hold_pictures(kind: Any) -> bool:
    """Whether a type is bytes, or a record with bytes, as `datasets` stores pictures."""
    from pyarrow import types

    if types.is_struct(kind):
        return any(
            kind.field(index).name == "bytes" and _is_binary(kind.field(index).type)
            for index in range(kind.num_fields)
        )
    return _is_binary(kind)


def _is_array_of_numbers(kind: Any) -> bool:
    """Whether a type is an array of numbers of at least two dimensions: pixels."""
    from pyarrow import types

    kind, depth = getattr(kind, "storage_type", kind), 0
    while types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        kind, depth = kind.value_type, depth + 1
    return depth >= 2 and bool(types.is_integer(kind) or types.is_floating(kind))


def _classes(schema: Schema) -> dict[str, tuple[str, ...]]:
    """From the columns that `datasets` marks as class labels to the names of their classes."""
    try:
        info = msgspec.json.decode((schema.metadata or {}).get(b"huggingface", b"{}"), type=_Info)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    features = info.info.get("features", {})
    return {
        str(name): tuple(feature["names"])
        for name, feature in (features.items() if isinstance(features, dict) else ())
        if isinstance(feature, dict)
        and isinstance(feature.get("names"), list)
        and len(feature["names"]) <= MOST_NAMES
        and all(isinstance(each, str) for each in feature["names"])
    }


class _Info(msgspec.Struct):
    info: dict[str, Any] = {}
