"""Reads Parquet and Arrow files as `datasets` writes them, with a column of embedded pictures."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from engine.errors import BadInput
from engine.sweeps.sources.tables import task_of
from engine.sweeps.sources.tasks import PictureTasks, Prompt, Source
from engine.system.files import reason_of

IMAGE_COLUMNS = ("image", "picture", "img")
WANTED = ("prompt", "question", "answer", "label", "group")
ROWS_AT_ONCE = 16


def read_arrow(file: Path, prompts: Sequence[Prompt]) -> Source:
    """The questions of a Parquet or Arrow file, of which a few rows are read at a time.

    The picture is a column of bytes, or of `{bytes, path}`; `prompt` (or `question`), `answer` (or
    `label`, where it is text) and `group` are optional columns. Raises BadInput.
    """
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        raise BadInput(
            f"{file}: reading it needs pyarrow: pip install 'lenscope[report]'"
        ) from None
    rows = _Rows(file, tuple(prompts), _classes(file))
    status = file.stat()
    pictures = items = 0
    for picture in rows.listed():
        pictures += 1
        items += len(picture.tasks)
    if not items:
        raise BadInput(f"{file}: no rows in it")
    digest = hashlib.sha256(f"{status.st_size} {pictures} {items} ".encode())
    with file.open("rb") as stream:
        # A Parquet file has its metadata at its end.
        stream.seek(max(0, status.st_size - 2**16))
        digest.update(stream.read())
    return Source(
        "arrow",
        str(file.absolute()),
        rows,
        digest.hexdigest(),
        pictures,
        items,
        quickly=_Listing(rows),
    )


def embedded_picture(file: Path, name: str) -> bytes | None:
    """The bytes of the picture with this name in `PictureTasks.path`; None where there is none.

    Raises BadInput where the file cannot be read.
    """
    beginning, _, number = name.rpartition("#")
    if beginning != file.name or not number.isdecimal() or len(number) > 18:
        return None
    wanted = int(number)
    for found, row, column in _Rows(file, (), {}).rows(with_pictures=True, first=wanted):
        if found == wanted:
            data, _ = _embedded(row[column])
            return data if isinstance(data, bytes) else None
    return None


@dataclass(frozen=True)
class _Rows:
    """Iterates over the file, each time from its beginning, holding a few rows at once."""

    file: Path
    prompts: tuple[Prompt, ...]
    classes: dict[str, tuple[str, ...]]
    """From a column to the names of the classes that its numbers mean."""

    def __iter__(self) -> Iterator[PictureTasks]:
        for number, row, column in self.rows(with_pictures=True):
            data, path = _embedded(row[column])
            yield PictureTasks(
                f"{self.file.name}#{number}",
                # A path that the file holds instead of a picture must be next to the file.
                self.file.parent / Path(str(path)).name if data is None and path else None,
                self._tasks(number, row),
                None if data is None and path else partial(_bytes, data),
            )

    def listed(self) -> Iterator[PictureTasks]:
        """The same rows without the pictures."""
        for number, row, _ in self.rows(with_pictures=False):
            yield PictureTasks(f"{self.file.name}#{number}", None, self._tasks(number, row))

    def _tasks(self, number: int, row: dict[str, Any]) -> tuple[Any, ...]:
        answer = row.get("answer", row.get("label"))
        names = self.classes.get("answer" if "answer" in row else "label", ())
        if names and isinstance(answer, int) and 0 <= answer < len(names):
            answer = names[answer]
        columns = {
            "prompt": row.get("prompt", row.get("question")),
            "answer": answer,
            "group": row.get("group"),
        }
        return task_of(columns, self.prompts, f"{self.file}, row {number}")

    def rows(
        self, with_pictures: bool, first: int = 0
    ) -> Iterator[tuple[int, dict[str, Any], str]]:
        """Rows with their numbers and the name of the picture column, from `first` on or from up to
        `ROWS_AT_ONCE` rows before it."""
        import pyarrow

        try:
            names, number, batches = self._opened(with_pictures, first)
            column = next((name for name in IMAGE_COLUMNS if name in names), None)
            if column is None:
                raise BadInput(
                    f"{self.file}: no image column ({', '.join(IMAGE_COLUMNS)}); "
                    f"it has {', '.join(map(repr, names))}"
                )
            for batch in batches:
                if number + batch.num_rows <= first:
                    number += batch.num_rows
                    continue
                kept = [name for name in (column, *WANTED) if name in batch.schema.names]
                if not with_pictures:
                    kept = [name for name in kept if name != column]
                few = batch.select(kept)
                begin = max(0, first - number) // ROWS_AT_ONCE * ROWS_AT_ONCE
                number += begin
                for start in range(begin, batch.num_rows, ROWS_AT_ONCE):
                    part = few.slice(start, ROWS_AT_ONCE)
                    columns = {name: part.column(name).to_pylist() for name in kept}
                    for index in range(min(ROWS_AT_ONCE, batch.num_rows - start)):
                        row = {name: values[index] for name, values in columns.items()}
                        yield number, row, column
                        number += 1
        except (pyarrow.ArrowException, OSError) as error:
            raise BadInput(f"{self.file}: cannot be read ({reason_of(error)})") from None

    def _opened(self, with_pictures: bool, first: int) -> tuple[list[str], int, Iterator[Any]]:
        """The names of the columns, the number of the first row read, and batches of rows."""
        import pyarrow
        from pyarrow import parquet

        if self.file.suffix.lower() == ".parquet":
            table = parquet.ParquetFile(self.file)
            names = list(table.schema_arrow.names)
            wanted = [name for name in WANTED if name in names]
            if with_pictures:
                wanted += [name for name in IMAGE_COLUMNS if name in names]
            # A batch without columns would not know how many rows it has.
            wanted = wanted or names[:1]
            groups, number = [*range(table.num_row_groups)], 0
            while groups and number + table.metadata.row_group(groups[0]).num_rows <= first:
                number += table.metadata.row_group(groups.pop(0)).num_rows
            batches = table.iter_batches(ROWS_AT_ONCE, row_groups=groups, columns=wanted)
            return names, number, batches
        source = pyarrow.memory_map(str(self.file))
        try:
            stream = pyarrow.ipc.open_stream(source)  # `datasets` caches streams
            return list(stream.schema.names), 0, iter(stream)
        except pyarrow.ArrowInvalid:
            whole = pyarrow.ipc.open_file(source)
            batches = (whole.get_batch(index) for index in range(whole.num_record_batches))
            return list(whole.schema.names), 0, batches


@dataclass(frozen=True)
class _Listing:
    """The rows of a file without their pictures."""

    rows: _Rows

    def __iter__(self) -> Iterator[PictureTasks]:
        return self.rows.listed()


def _classes(file: Path) -> dict[str, tuple[str, ...]]:
    """From the columns that `datasets` marks as class labels to the names of their classes."""
    import pyarrow
    from pyarrow import parquet

    try:
        if file.suffix.lower() == ".parquet":
            metadata = parquet.read_schema(file).metadata
        else:
            with pyarrow.memory_map(str(file)) as source:
                metadata = pyarrow.ipc.open_stream(source).schema.metadata
        info = msgspec.json.decode((metadata or {}).get(b"huggingface", b"{}"), type=_Info)
    except (pyarrow.ArrowException, OSError, msgspec.DecodeError, UnicodeDecodeError):
        return {}  # an unreadable file is reported when its rows are read
    return {
        name: tuple(feature["names"])
        for name, feature in info.info.get("features", {}).items()
        if isinstance(feature, dict)
        and isinstance(feature.get("names"), list)
        and all(isinstance(each, str) for each in feature["names"])
    }


class _Info(msgspec.Struct):
    info: dict[str, Any] = {}


def _embedded(cell: Any) -> tuple[Any, Any]:
    """The content of a cell of the picture column, and the name that it gives the picture."""
    return (cell.get("bytes"), cell.get("path")) if isinstance(cell, dict) else (cell, None)


def _bytes(data: Any) -> bytes:
    if not isinstance(data, bytes):
        raise BadInput("no picture in this row")
    return data
