"""Folders of Parquet or Arrow files: what `datasets` saves to disk, and data sets in shards."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from engine.errors import BadInput
from engine.sweeps.sources.contents import beginning_of, is_arrow, is_parquet, other_kind
from engine.sweeps.sources.json_text import ERRORS, decode, json_of
from engine.sweeps.words import counted

SUFFIXES: Final = (".parquet", ".arrow", ".feather")
DEEPEST: Final = 4
MOST_FILES: Final = 100_000
_SHARD = re.compile(r"(.*?)-?(\d{5})-of-(\d{5})(\..*)?")


@dataclass(frozen=True)
class Shards:
    """The files of a data set, in their order, and what the user should know about them."""

    files: tuple[Path, ...]
    notes: tuple[str, ...] = ()


class _State(msgspec.Struct):
    data_files: list[dict[str, Any]] = msgspec.field(default_factory=list, name="_data_files")
    indices: list[Any] | None = msgspec.field(default=None, name="_indices_data_files")


class _Splits(msgspec.Struct):
    splits: list[str]


def saved_by_datasets(folder: Path) -> Shards | None:
    """The files of a folder that `save_to_disk` wrote, of one data set or of one with splits; None
    for any other folder. Raises BadInput where it is damaged."""
    if (folder / "dataset_dict.json").is_file():
        file = folder / "dataset_dict.json"
        splits = _read(file, _Splits).splits
        found = []
        for split in splits:
            inside = Path(split).name == split and split not in ("", ".", "..")
            part = _saved(folder / split) if inside else None
            if part is None:
                raise BadInput(f"{file}: names the split {split!r}, which is not in the folder")
            found.append(part)
        notes = [note for part in found for note in part.notes]
        if len(splits) > 1:
            notes.append(
                f"all its splits are asked about: {', '.join(map(repr, splits))} (each is a folder "
                "that can be named alone)"
            )
        return Shards(tuple(file for part in found for file in part.files), tuple(notes))
    return _saved(folder)


def shards_in(folder: Path) -> Shards | None:
    """The Parquet and Arrow files below a folder; None where there are none."""
    files = sorted(_files(folder, DEEPEST))
    if not files:
        return None
    return Shards(tuple(files), _missing_of(folder, files))


def _saved(folder: Path) -> Shards | None:
    state = folder / "state.json"
    if not state.is_file():
        return None
    found = _read(state, _State)
    names = [each.get("filename") for each in found.data_files]
    if not names:
        return None
    if found.indices:
        raise BadInput(
            f"{folder}: only some rows of its files belong to it, in an order of their own: save "
            "it again after flatten_indices()"
        )
    files: list[Path] = []
    missing: list[Path] = []
    for name in names:
        if not isinstance(name, str) or Path(name).name != name or name in ("", ".", ".."):
            raise BadInput(f"{state}: names {name!r}, which is not inside the folder")
        (files if (folder / name).is_file() else missing).append(folder / name)
    if not files:
        raise BadInput(f"{folder}: none of its files is there (first: {missing[0]})")
    return Shards(tuple(files), _missing(len(missing), len(names), missing))


def _read(file: Path, kind: Any) -> Any:
    try:
        return decode(json_of(file, "file of `datasets`"), kind)
    except ERRORS as error:
        raise BadInput(f"{file}: not as `datasets` writes it ({error})") from None


def _files(folder: Path, deepest: int) -> Iterator[Path]:
    with os.scandir(folder) as listed:
        entries = [each for each in listed if not each.name.startswith(".")]
    for each in entries:
        path = Path(each)
        if each.is_dir(follow_symlinks=False):
            if deepest:
                yield from _files(path, deepest - 1)
        elif each.name.lower().endswith(SUFFIXES) and each.is_file():
            if each.name.startswith("cache-"):
                continue  # results of `map`, not data
            beginning = beginning_of(path)
            if is_parquet(beginning) or is_arrow(beginning):
                yield path
            elif other_kind(beginning) is not None:
                raise BadInput(f"{path}: {other_kind(beginning)}")
            else:
                raise BadInput(f"{path}: neither Parquet nor Arrow is in it")


def _missing_of(folder: Path, files: list[Path]) -> tuple[str, ...]:
    """What is said where names count more shards than there are."""
    wanted: dict[tuple[Path, str, int, str], set[int]] = {}
    for file in files:
        found = _SHARD.fullmatch(file.name)
        if found is not None:
            key = file.parent, found[1], int(found[3]), found[4] or ""
            wanted.setdefault(key, set()).add(int(found[2]))
    missing = [
        parent / f"{stem}-{number:05}-of-{count:05}{suffix}"
        for (parent, stem, count, suffix), numbers in wanted.items()
        if count <= MOST_FILES
        for number in sorted(set(range(count)) - numbers)
    ]
    return _missing(len(missing), len(files) + len(missing), missing)


def _missing(count: int, total: int, files: list[Path]) -> tuple[str, ...]:
    if not count:
        return ()
    are = "is" if count == 1 else "are"
    return (f"{count:,} of its {counted(total, 'file')} {are} not there (first: {files[0]})",)
