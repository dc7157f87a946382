"""A model from the hub as a folder in the local cache: downloaded with progress, or found there.

The small files come first, so that a model that cannot be read is refused before its gigabytes
are fetched; of the weights only those that will be loaded are. All the hub's own environment
variables (HF_HOME, HF_HUB_CACHE, HF_TOKEN, HF_ENDPOINT, HF_HUB_OFFLINE) count.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from glob import escape
from pathlib import Path
from typing import Any

from tqdm.std import tqdm

from engine.errors import CannotLoad
from engine.events import LoadOptions

Progress = Callable[[str, float | None], None]
"""Called with what is being done and, where known, the fraction of it (0..1)."""

SETTINGS = ("*.json", "*.txt", "*.jinja", "*.model", "*.tiktoken")
"""Configs, tokenizers, processors, templates; in the model's own folder, not below it."""

WEIGHTS = ("model.safetensors", "pytorch_model.bin")
"""The names under which transformers saves weights, the safe one first; sharded ones have an
index beside them."""

TELL_EVERY = 0.2
"""Seconds between two tellings of a download's progress."""


def settings_folder(options: LoadOptions, progress: Progress) -> Path:
    """The cached snapshot of a hub id, with everything but its weights.

    Nothing is connected to in offline mode; where the hub cannot be reached, the cache serves.
    Raises what huggingface_hub raises.
    """
    patterns = [*SETTINGS, "*.py"] if options.trust_remote_code else list(SETTINGS)
    return _snapshot(options, options.revision, patterns, progress)


def fetch_weights(options: LoadOptions, folder: Path, progress: Progress) -> None:
    """Bring the weights that will be loaded into the snapshot `folder`.

    Raises CannotLoad where there are none of the wanted kind or no room for them, otherwise what
    huggingface_hub raises.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import DryRunError

    kinds = WEIGHTS if options.allow_pickle else WEIGHTS[:1]
    for name in kinds:
        index = folder / f"{name}.index.json"
        if index.is_file():
            wanted = _shards(index, options.model)
            break
    else:
        wanted = list(kinds)
    if all((folder / name).is_file() for name in wanted):
        return
    try:
        found = snapshot_download(
            options.model,
            revision=folder.name,
            cache_dir=options.cache_dir,
            allow_patterns=["*.safetensors", "*.bin"],
            ignore_patterns=["*/*"],
            dry_run=True,
            tqdm_class=_Silent,
        )
    except DryRunError:
        if any((folder / name).is_file() for name in wanted):
            return  # one of several kinds; transformers says what else is missing
        raise CannotLoad(
            "its weights are not in the cache, and the hub cannot be reached"
        ) from None
    sizes = {each.filename: each.file_size or 0 for each in found}
    absent = [name for name in wanted if name not in sizes]
    present = [name for name in wanted if name in sizes]
    if not present or (len(wanted) > len(kinds) and absent):
        pickled = any(name.endswith(".bin") for name in sizes)
        remedy = "; if you trust its pickled ones, --allow-pickle" if pickled else ""
        raise CannotLoad(f"no safetensors weights on the hub{remedy}")
    _refuse_full_disk(folder, sum(each.file_size or 0 for each in found if each.will_download))
    wanted = present if len(wanted) > len(kinds) else present[:1]
    _snapshot(options, folder.name, [escape(name) for name in wanted], progress)


def _snapshot(
    options: LoadOptions, revision: str | None, patterns: list[str], progress: Progress
) -> Path:
    from huggingface_hub import snapshot_download

    class Download(_Download):
        tell = staticmethod(progress)

    return Path(
        snapshot_download(
            options.model,
            revision=revision,
            cache_dir=options.cache_dir,
            allow_patterns=patterns,
            ignore_patterns=["*/*"],
            tqdm_class=Download,
        )
    )


def _shards(index: Path, model: str) -> list[str]:
    try:
        names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
        raise CannotLoad(f"{model}: the index of its weights ({index.name}) is damaged") from None
    return sorted(str(name) for name in names)


def _refuse_full_disk(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise CannotLoad(
            f"the download needs {needed / 1e9:.1f} GB and the disk of the cache has "
            f"{free / 1e9:.1f} GB left (another one: --cache-dir, or HF_HOME)"
        )


class _Silent(tqdm):  # type: ignore[misc]
    """A progress bar that draws nothing."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        settings.pop("name", None)
        super().__init__(*args, **{**settings, "disable": True})


class _Download(_Silent):
    """Tells the bytes that have come, where huggingface_hub would draw its bar."""

    tell: Progress

    def __init__(self, *args: Any, **settings: Any) -> None:
        # Of its three bars: the one of bytes on the disk, not of bytes on the line, nor of files.
        self._counts = settings.get("unit") == "B" and "transfer" not in settings.get("name", "")
        self._began = self._told = time.monotonic()
        super().__init__(*args, **settings)

    def update(self, n: float | None = 1) -> bool | None:
        """Count `n` more bytes."""
        self.n += n or 0
        now = time.monotonic()
        if self._counts and now - self._told >= TELL_EVERY:
            self._told = now
            rate = self.n / (now - self._began)
            total = self.total or 0
            self.tell(
                f"downloading {self.n / 1e6:,.0f} of {total / 1e6:,.0f} MB ({rate / 1e6:.1f} MB/s)",
                min(1.0, self.n / total) if total else None,
            )
        return None


def remedy_for(error: BaseException) -> str | None:
    """One line for what the hub refuses or fails at, with its own remedy; None for other errors."""
    kinds = _kinds(error)
    if "GatedRepoError" in kinds:
        return "the hub asks for access; accept its terms on the model's page, then `hf auth login`"
    if "RevisionNotFoundError" in kinds:
        return "the hub has the model, but not this --revision"
    if "RepositoryNotFoundError" in kinds:
        return "not a folder here and not found on the hub (check the name, or `hf auth login`)"
    if "DisabledRepoError" in kinds:
        return "the hub has disabled this model"
    if "IncompleteSnapshotError" in kinds:
        return "only a part of it is in the cache, and the hub cannot be reached"
    if kinds & {"LocalEntryNotFoundError", "OfflineModeIsEnabled", "ConnectError"}:
        return "not a folder here, not in the cache, and the hub cannot be reached"
    if kinds & {"TransportError", "FileMetadataError", "HfHubHTTPError"} or (
        "Consistency check failed" in str(error)
    ):
        return "the download broke off; try again, it goes on where it stopped"
    return None


def _kinds(error: BaseException | None) -> set[str]:
    """The names of the classes of an error and of those that led to it, their bases included."""
    names: set[str] = set()
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        names |= {each.__name__ for each in type(error).__mro__}
        error = error.__cause__ or error.__context__
    return names
