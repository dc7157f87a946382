"""Checks of a model's folder that need no torch, done before the first frame."""

from __future__ import annotations

import json
import re
from pathlib import Path

from engine.errors import CannotLoad, Remedy
from engine.events import LoadOptions
from engine.models.folder_bounds import refuse_unbounded_folder
from engine.models.hub_environment import refuse_unusable_environment
from engine.system.working_folder import refuse_to_import_without_working_folder

PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
_HUB_ID = re.compile(r"\A[A-Za-z0-9_][\w.-]*(/[A-Za-z0-9_][\w.-]*)?\Z")


def model_folder(options: LoadOptions) -> Path | None:
    """The folder that the model's name means, checked; None for a hub id.

    Raises CannotLoad, naming what is missing and the remedy.
    """
    name = options.model
    refuse_to_import_without_working_folder()
    try:
        folder = Path(name).expanduser()
        if not folder.exists():
            _refuse_no_hub_id(name)
            refuse_unusable_environment(options)
            return None
        if not folder.is_dir():
            raise CannotLoad(f"{name}: a file; name the model's folder or a hub id")
        refuse_unbounded_folder(folder, name)
        config = folder / "config.json"
        if not config.is_file():
            raise CannotLoad(f"{name}: no model here (the folder has no config.json)")
        content = json.loads(config.read_text(encoding="utf-8"))
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise CannotLoad(f"{name}: the folder cannot be read ({reason})") from None
    except (ValueError, RecursionError):
        raise CannotLoad(f"{name}: the model's config.json is damaged") from None
    if not isinstance(content, dict):
        raise CannotLoad(f"{name}: the model's config.json is damaged")
    _refuse_missing_weights(folder, name, options.allow_pickle)
    return folder


def _refuse_no_hub_id(name: str) -> None:
    if _HUB_ID.match(name) is None or name.endswith((".json", ".git")):
        raise CannotLoad(f"{name}: no such folder, and not a hub id (owner/name)")


def _refuse_missing_weights(folder: Path, name: str, allow_pickle: bool) -> None:
    if any(folder.glob("*.safetensors")):
        return
    pickled = [path.name for pattern in PICKLES for path in folder.glob(pattern)]
    if not pickled:
        raise CannotLoad(f"{name}: the folder has no weights (*.safetensors)")
    if not allow_pickle:
        raise CannotLoad(
            f"{name}: only pickled weights ({pickled[0]}), which can run code when opened; "
            "convert them to safetensors, or allow them if you trust them",
            Remedy.ALLOW_PICKLE,
        )
