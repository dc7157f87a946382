"""Finds models on this machine, in the hub's cache or in a folder, without importing torch."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from msgspec import Struct

from engine.models.weight_files import INDEX, LARGEST_INDEX, SAFE
from engine.system.files import user_path

LARGEST_CONFIG = 4 * 2**20


class LocalModel(Struct, frozen=True):
    """A model that can be loaded without a download, if it is complete."""

    name: str
    """Its hub id, or the folder."""
    folder: str
    """Where its files are: for a cached model, the snapshot that would be loaded."""
    bytes: int
    """Its size on the disk."""
    last_used: str
    """RFC 3339, UTC; empty where that is not known."""
    complete: bool
    """Whether it has a config and all of its weights as safetensors."""
    architecture: str | None
    """The class that its config names, or else the model type."""


def local_models(cache_dir: str | None = None) -> tuple[LocalModel, ...]:
    """The models in the hub's cache, the most recently used first; none where there is no cache."""
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        cache = scan_cache_dir(cache_dir)
    except (CacheNotFound, OSError, ValueError, RuntimeError):
        return ()
    repositories = [each for each in cache.repos if each.repo_type == "model" and each.revisions]
    repositories.sort(key=lambda each: (-(each.last_accessed or 0.0), each.repo_id))
    return tuple(
        _described(
            name=each.repo_id,
            folder=_snapshot(each.revisions),
            size=each.size_on_disk,
            used=each.last_accessed,
        )
        for each in repositories
    )


def folder_model(path: str | Path) -> LocalModel | None:
    """The model in this folder; None where there is no config.json."""
    try:
        folder = user_path(path)
        if not (folder / "config.json").is_file():
            return None
        states = [each.stat() for each in folder.iterdir() if each.is_file()]
    except (OSError, ValueError):
        return None
    return _described(
        name=str(path),
        folder=folder,
        size=sum(state.st_size for state in states),
        used=max((state.st_atime for state in states), default=None),
    )


def _described(name: str, folder: Path, size: int, used: float | None) -> LocalModel:
    config = _read_json(folder / "config.json", LARGEST_CONFIG)
    return LocalModel(
        name=name,
        folder=str(folder),
        bytes=size,
        last_used=_as_time(used),
        complete=config is not None and _has_weights(folder),
        architecture=_architecture(config or {}),
    )


def _snapshot(revisions: Iterable[Any]) -> Path:
    """The snapshot of the main branch, or else the newest."""
    chosen = max(revisions, key=lambda each: ("main" in each.refs, each.last_modified or 0.0))
    return Path(chosen.snapshot_path)


def _has_weights(folder: Path) -> bool:
    if _is_file(folder / SAFE):
        return True
    index = _read_json(folder / (SAFE + INDEX), LARGEST_INDEX)
    shards = index.get("weight_map") if index is not None else None
    if not isinstance(shards, dict) or not shards:
        return False
    names = {shard for shard in shards.values() if isinstance(shard, str)}
    return len(names) > 0 and all(_is_file(folder / shard) for shard in names)


def _architecture(config: dict[str, Any]) -> str | None:
    classes = config.get("architectures")
    named = [*(classes if isinstance(classes, list) else ()), config.get("model_type")]
    return next((each for each in named if isinstance(each, str) and each), None)


def _read_json(file: Path, limit: int) -> dict[str, Any] | None:
    """The object in a JSON file; None where there is none, or the file is damaged or too large."""
    try:
        if not file.is_file() or file.stat().st_size > limit:
            return None
        content = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def _is_file(file: Path) -> bool:
    try:
        return file.is_file()
    except (OSError, ValueError):  # a name that no file can have
        return False


def _as_time(seconds: float | None) -> str:
    try:
        moment = datetime.fromtimestamp(seconds or 0.0, UTC) if seconds else None
    except (OSError, OverflowError, ValueError):
        return ""
    return "" if moment is None else moment.strftime("%Y-%m-%dT%H:%M:%SZ")
