"""From the folder that the user names to the folder that holds a model.

People name the folder above: a trainer's output folder, a model's folder in the hub's cache.
"""

from __future__ import annotations

import re
from pathlib import Path

from engine.errors import CannotLoad
from engine.models.adapters import CONFIG as ADAPTER_CONFIG
from engine.system.files import user_path

_HUB_ID = re.compile(r"\A[A-Za-z0-9_][\w.-]*(/[A-Za-z0-9_][\w.-]*)?\Z")
_CHECKPOINT = re.compile(r"\A(?:checkpoint|step|epoch|global_step)[-_]?(\d+)\Z")
_MOST_LISTED = 5

_OTHER_CONTENTS = {
    "params.json": "it is in the format of its authors' own code (params.json)",
    "model_index.json": "it holds a pipeline of diffusers (model_index.json)",
    "saved_model.pb": "it holds a TensorFlow model (saved_model.pb)",
}


def find_folder(name: str) -> tuple[Path, tuple[str, ...]] | None:
    """The folder of the model that a name means, and notes on the choice; None for a hub id.

    Raises CannotLoad where the name is neither, or where there is no model or no telling which.
    """
    folder = user_path(name)
    if not folder.exists():
        if _HUB_ID.match(name) is None or name.endswith((".json", ".git")):
            raise CannotLoad(f"{name}: no such folder, and not a hub id (owner/name)")
        return None
    if not folder.is_dir():
        raise CannotLoad(f"{name}: a file; name the model's folder or a hub id")
    if _holds_model(folder):
        return folder, ()
    found = _snapshot(folder) or _newest_checkpoint(folder)
    if found is not None:
        return found
    raise CannotLoad(f"{name}: no model here ({_what_instead(folder)})")


def _holds_model(folder: Path) -> bool:
    return (folder / "config.json").exists() or (folder / ADAPTER_CONFIG).exists()


def _snapshot(folder: Path) -> tuple[Path, tuple[str, ...]] | None:
    """The snapshot that the hub's client would load from a model's folder in its cache."""
    snapshots = folder if folder.name == "snapshots" else folder / "snapshots"
    there = [each for each in _folders(snapshots) if _holds_model(each)]
    if not there:
        return None
    main = snapshots.parent / "refs" / "main"
    commit = main.read_text(encoding="utf-8").strip() if main.is_file() else ""
    newest = max(there, key=lambda each: (each.name == commit, each.stat().st_mtime))
    return newest, (f"the snapshot {newest.name[:12]} of {len(there)} in {folder.name}",)


def _newest_checkpoint(folder: Path) -> tuple[Path, tuple[str, ...]] | None:
    """The checkpoint with the most steps in a trainer's output folder."""
    steps = {
        int(found[1]): each
        for each in _folders(folder)
        if (found := _CHECKPOINT.match(each.name)) and _holds_model(each)
    }
    if not steps:
        return None
    newest = steps[max(steps)]
    return newest, (f"{newest.name}, the newest of {len(steps)} in {folder.name}",)


def _what_instead(folder: Path) -> str:
    for file, what in _OTHER_CONTENTS.items():
        if (folder / file).is_file():
            return f"{what}; a checkpoint converted for transformers is needed"
    cached = [each.name for each in _folders(folder) if each.name.startswith("models--")]
    below = [each.name for each in _folders(folder) if _holds_model(each)]
    if cached:
        ids = [name.removeprefix("models--").replace("--", "/") for name in cached]
        return f"it is a cache of the hub; name a model in it: {_listed(ids)}"
    if below:
        return f"the folder has no config.json, but some below it do; name one: {_listed(below)}"
    return "the folder has no config.json"


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:_MOST_LISTED])
    more = len(names) - _MOST_LISTED
    return f"{shown} and {more} more" if more > 0 else shown


def _folders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(each for each in folder.iterdir() if each.is_dir())
