"""Brings a model from the hub into the local cache, telling the progress, or finds it there.

The small files come first, so that a model that cannot be read is refused before its gigabytes
are downloaded; of the weights, only those that will be loaded are. The environment variables of
huggingface_hub (HF_HOME, HF_HUB_CACHE, HF_TOKEN, HF_ENDPOINT, HF_HUB_OFFLINE) apply.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from glob import escape
from pathlib import Path
from typing import Any

from tqdm.std import tqdm

from engine.errors import CannotLoad, Remedy
from engine.events import LoadOptions
from engine.models.hub_environment import naming_the_environment
from engine.models.weight_files import INDEX, PICKLED, SAFE, shards_of
from engine.system.library_errors import HubTrouble, hub_trouble

Progress = Callable[[str, float | None], None]
"""Called with what is being done and the fraction of it that is done (0..1, None if unknown)."""

SETTINGS = ("*.json", "*.txt", "*.jinja", "*.model", "*.tiktoken")
"""Configs, tokenizers, processors and templates, in the top folder of the repository alone."""

TELL_EVERY = 0.2
"""Seconds between two reports of a download's progress."""

_WORDS = {
    HubTrouble.GATED: (
        "the hub asks for access; accept its terms on the model's page, then `hf auth login`"
    ),
    HubTrouble.NO_SUCH_REVISION: "the hub has the model, but not this revision",
    HubTrouble.NO_SUCH_MODEL: (
        "not a folder here and not found on the hub (check the name, or `hf auth login`)"
    ),
    HubTrouble.DISABLED: "the hub has disabled this model",
    HubTrouble.INCOMPLETE: "only a part of it is in the cache, and the hub cannot be reached",
    HubTrouble.UNREACHABLE: "not a folder here, not in the cache, and the hub cannot be reached",
    HubTrouble.BROKE_OFF: "the download broke off; try again, it resumes where it stopped",
}


def settings_folder(options: LoadOptions) -> Path:
    """The cached snapshot of a hub id, with everything but its weights.

    In offline mode nothing is connected to; where the hub cannot be reached, the cache is used.
    Raises what huggingface_hub raises.
    """
    patterns = [*SETTINGS, "*.py"] if options.trust_remote_code else list(SETTINGS)
    with naming_the_environment(options):
        return _snapshot(options, options.revision, patterns, _Silent)


def fetch_weights(options: LoadOptions, folder: Path, progress: Progress) -> None:
    """Download the weights that will be loaded into the snapshot `folder`, unless they are there.

    Raises CannotLoad where there are none of the wanted kind or no room for them, otherwise what
    huggingface_hub raises.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import DryRunError

    kinds = (SAFE, PICKLED) if options.allow_pickle else (SAFE,)
    alternatives = [_files_of(name, folder) for name in kinds]
    if any(all((folder / name).is_file() for name in names) for names in alternatives):
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
        raise CannotLoad(
            "its weights are not in the cache, and the hub cannot be reached"
        ) from None
    offered = {each.filename: each for each in found}
    wanted = next((names for names in alternatives if offered.keys() >= set(names)), None)
    if wanted is None:
        if any(name.endswith(".bin") for name in offered):
            raise CannotLoad(
                "no safetensors weights on the hub; allow its pickled ones if you trust them",
                Remedy.ALLOW_PICKLE,
            )
        raise CannotLoad("no safetensors weights on the hub")
    coming = [offered[name] for name in wanted if offered[name].will_download]
    size = sum(each.file_size or 0 for each in coming)
    _refuse_full_disk(folder, size)

    class Download(_Download):
        tell = staticmethod(progress)
        expected = size

    with naming_the_environment(options):
        _snapshot(options, folder.name, [escape(name) for name in wanted], Download)


def _snapshot(
    options: LoadOptions, revision: str | None, patterns: list[str], bar: type[_Silent]
) -> Path:
    from huggingface_hub import snapshot_download

    return Path(
        snapshot_download(
            options.model,
            revision=revision,
            cache_dir=options.cache_dir,
            allow_patterns=patterns,
            ignore_patterns=["*/*"],
            tqdm_class=bar,
        )
    )


def _files_of(name: str, folder: Path) -> list[str]:
    """The files of weights saved under this name: the shards in its index, or the one file."""
    index = folder / (name + INDEX)
    return shards_of(index) if index.is_file() else [name]


def _refuse_full_disk(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise CannotLoad(
            f"the download needs {needed / 1e9:.1f} GB and the disk of the cache has "
            f"{free / 1e9:.1f} GB left; choose another folder for it, or set HF_HOME",
            Remedy.OTHER_CACHE,
        )


class _Silent(tqdm):  # type: ignore[misc]
    """A progress bar that draws nothing."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        settings.pop("name", None)
        super().__init__(*args, **{**settings, "disable": True})


class _Download(_Silent):
    """Tells how many bytes were downloaded, instead of huggingface_hub's progress bar."""

    tell: Progress
    expected: int
    """Bytes of all files together; huggingface_hub itself learns of them one file at a time."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        # huggingface_hub draws three bars: bytes on the disk (counted here), transfers, and files.
        self._counts = settings.get("unit") == "B" and "transfer" not in settings.get("name", "")
        self._began = self._told = time.monotonic()
        super().__init__(*args, **settings)

    def update(self, n: float | None = 1) -> bool | None:
        """Count `n` more bytes."""
        self.n += n or 0
        if time.monotonic() - self._told >= TELL_EVERY:
            self.refresh()
        return None

    def refresh(self, *_: Any, **__: Any) -> None:
        """Tell the progress; huggingface_hub calls this whenever a file begins."""
        if not self._counts or not self.expected:
            return
        self._told = time.monotonic()
        rate = self.n / max(1e-3, self._told - self._began)
        self.tell(
            f"downloading {self.n / 1e6:,.0f} of {self.expected / 1e6:,.0f} MB"
            + (f" ({rate / 1e6:,.1f} MB/s)" if self.n else ""),
            min(1.0, self.n / self.expected),
        )


def explain_hub(error: BaseException) -> CannotLoad | None:
    """What the hub refused or failed at, in one line with its remedy; None for other errors."""
    trouble = hub_trouble(error)
    if trouble is None:
        return None
    remedies = (Remedy.OTHER_REVISION,) if trouble is HubTrouble.NO_SUCH_REVISION else ()
    return CannotLoad(_WORDS[trouble], *remedies)
