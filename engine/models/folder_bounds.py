"""What a model's folder may ask for: its files are looked at before any library opens them.

A folder comes from somebody else. A library that opens a pipe in it waits for ever, one that reads
a device or a file of gigabytes fills the memory, and a config may ask for a million layers.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, Final

from engine.errors import CannotLoad

_MIB: Final = 2**20
_LARGEST: Final = {
    "config.json": 16 * _MIB,
    "generation_config.json": 16 * _MIB,
    "adapter_config.json": 16 * _MIB,
    "preprocessor_config.json": 16 * _MIB,
    "processor_config.json": 16 * _MIB,
    "video_preprocessor_config.json": 16 * _MIB,
    "chat_template.json": 16 * _MIB,
    "chat_template.jinja": 16 * _MIB,
    "tokenizer_config.json": 256 * _MIB,
    "special_tokens_map.json": 256 * _MIB,
    "added_tokens.json": 256 * _MIB,
    "tokenizer.json": 1024 * _MIB,
    "tokenizer.model": 1024 * _MIB,
    "vocab.json": 1024 * _MIB,
    "vocab.txt": 1024 * _MIB,
    "merges.txt": 1024 * _MIB,
    "model.safetensors.index.json": 256 * _MIB,
    "pytorch_model.bin.index.json": 256 * _MIB,
}
"""Bytes; several times the largest that has been published. Files of other names are not read."""

_INDEXES: Final = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
_WEIGHTS: Final = (".safetensors", ".bin", ".pt", ".pth", ".ckpt")
_LAYERS: Final = re.compile(r"(num|n)_(\w+_)?layers?|\w*depth|(num|n)_(\w+_)?blocks|\w+_layers")
_CERTAINLY_FEW: Final = 1024
"""So many layers are always believed; more need as many weights."""
_MOST_HEADER: Final = 128 * _MIB
_MOST_NESTED: Final = 100


def refuse_unbounded_folder(folder: Path, name: str) -> None:
    """Check the files of a model's folder and what its config asks for, without opening anything
    but small regular files.

    Raises CannotLoad, with `name` for the model, and OSError where the folder cannot be read.
    """
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name in _LARGEST or entry.name.endswith(_WEIGHTS):
                _check_file(Path(entry.path), name)
    for index in _INDEXES:
        _check_index(folder / index, name)
    _check_layers(folder, name)


def _check_file(file: Path, name: str) -> None:
    try:
        status = file.stat()
    except OSError:  # a link that leads nowhere: opening it will report that
        return
    if stat.S_ISDIR(status.st_mode):
        return
    if not stat.S_ISREG(status.st_mode):
        raise CannotLoad(f"{name}: {file.name} is not a regular file")
    most = _LARGEST.get(file.name)
    if most is not None and status.st_size > most:
        raise CannotLoad(f"{name}: {file.name} has {status.st_size:,} bytes; the limit is {most:,}")


def _check_index(file: Path, name: str) -> None:
    """Check that the files of an index are regular ones in the folder or below it."""
    content = _json(file)
    shards = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(shards, dict):
        return
    for shard in {each for each in shards.values() if isinstance(each, str)}:
        path = PurePosixPath(shard)
        if path.is_absolute() or ".." in path.parts or "\0" in shard:
            raise CannotLoad(f"{name}: {file.name} names a file outside of the folder: {shard}")
        _check_file(file.parent / path, name)


def _check_layers(folder: Path, name: str) -> None:
    """Check that a model of thousands of layers has as many weights."""
    asked = max(_counts(_json(folder / "config.json")), default=(0, ""))
    if asked[0] <= _CERTAINLY_FEW:
        return
    weights = _weight_count(folder)
    if asked[0] > weights:
        raise CannotLoad(
            f"{name}: config.json asks for {_shown(asked[0])} layers ({asked[1]}), and the folder "
            f"has {weights:,} weights"
        )


def _counts(config: Any, nested: int = 0) -> Iterator[tuple[int, str]]:
    """The numbers of layers that a config asks for, in all its parts, with the fields' names."""
    if nested > _MOST_NESTED or not isinstance(config, dict):
        return
    for field, value in config.items():
        if isinstance(value, dict):
            yield from _counts(value, nested + 1)
        elif isinstance(value, int) and _LAYERS.fullmatch(field):
            yield value, field
        elif isinstance(value, list):
            if all(isinstance(each, int) for each in value) and _LAYERS.fullmatch(field):
                yield sum(value), field
            for each in value[:_CERTAINLY_FEW]:
                yield from _counts(each, nested + 1)


def _weight_count(folder: Path) -> int:
    """How many weights a folder has: those in its indexes and in the headers of its files."""
    count = 0
    for index in _INDEXES:
        content = _json(folder / index)
        shards = content.get("weight_map") if isinstance(content, dict) else None
        count = max(count, len(shards) if isinstance(shards, dict) else 0)
    files = [file for file in folder.glob("*.safetensors") if file.is_file()]
    if not files and not count:  # pickled weights are not opened
        return sum(file.stat().st_size for file in folder.iterdir() if file.suffix in _WEIGHTS)
    return max(count, sum(map(_header_count, files)))


def _header_count(file: Path) -> int:
    try:
        with file.open("rb") as stream:
            size = int.from_bytes(stream.read(8), "little")
            if size > min(_MOST_HEADER, file.stat().st_size):
                return 0
            header = json.loads(stream.read(size))
    except (OSError, ValueError, RecursionError):
        return 0  # opening it will report what is wrong
    return len(header) if isinstance(header, dict) else 0


def _json(file: Path) -> Any:
    """What a JSON file holds; None where it cannot be read, which others report."""
    try:
        if not file.is_file():
            return None
        return json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None


def _shown(count: int) -> str:
    return f"{count:,}" if count < 10**15 else "more than a thousand million million"
