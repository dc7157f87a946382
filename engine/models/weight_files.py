"""Which files of a model's folder hold weights, which of them are read, and which are not.

transformers reads the first of these that is there: the file that config.json names, then
`model.safetensors`, then the shards in `model.safetensors.index.json`, and the pickled pair of
those. It says nothing about the others.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.errors import CannotLoad, Remedy
from engine.models.git_lfs import refuse_pointers

SAFE, PICKLED = "model.safetensors", "pytorch_model.bin"
"""The names under which transformers saves weights; shards have an index file beside them."""

INDEX = ".index.json"

LARGEST_INDEX = 64 * 2**20
"""Bytes; that of a model with 60,000 weights has 6 MB."""

_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
_NO_WEIGHTS = re.compile(
    r"\A(training_args|optimizer|scheduler|scaler|rng_state|random_states|trainer_state|tokenizer"
    r"|sentencepiece|adapter_model)",
    re.IGNORECASE,
)
"""What trainers keep beside the weights, and adapters, which are looked for by themselves."""

_SHARD = re.compile(r"\A(.+)-(\d{5})-of-(\d{5})\.(safetensors|bin)\Z")

_OTHER_FORMATS = {
    "*.gguf": "GGUF, the format of llama.cpp",
    "*.onnx": "ONNX",
    "*.h5": "TensorFlow's",
    "*.msgpack": "Flax's",
    "*.mlmodel": "Core ML's",
    "openvino_model.xml": "OpenVINO's",
}


@dataclass(frozen=True)
class WeightFiles:
    """The files with weights in a model's folder."""

    read: tuple[Path, ...]
    """Those that transformers reads."""
    source: str
    """The name of the file, or of the index, through which they are read."""
    passed_over: tuple[str, ...] = ()
    """The names of others beside them."""

    @property
    def note(self) -> str | None:
        """What the user has to know about them, in one line."""
        if not self.passed_over:
            return None
        count, first = len(self.passed_over), self.passed_over[0]
        if count == 1:
            return f"another file with weights, {first}, is not read; {self.source} is"
        return f"{count} other files with weights are not read (first: {first}); {self.source} is"


def weight_files(folder: Path, config: Mapping[str, Any], allow_pickle: bool) -> WeightFiles:
    """The weights in a folder, from the names of its files alone.

    Raises CannotLoad where there are none that would be read, some are missing or only pointers of
    Git LFS; the message names the files that are looked for and those that are there.
    """
    named = config.get("transformers_weights")
    candidates = [named] if isinstance(named, str) and named else []
    candidates += [SAFE, SAFE + INDEX]
    if allow_pickle:
        candidates += [PICKLED, PICKLED + INDEX]
    source = next((name for name in candidates if _is_file(folder / name)), None)
    there = _names(folder)
    if source is None:
        raise _no_weights(folder, there, allow_pickle)
    names = shards_of(folder / source) if source.endswith(INDEX) else [source]
    read = [folder / name for name in names]
    gone = [path.name for path in read if not _is_file(path)]
    if gone:
        raise CannotLoad(
            f"{len(gone)} of the {len(names)} files that {source} names "
            f"{'is' if len(gone) == 1 else 'are'} not there (first: {gone[0]})"
        )
    refuse_pointers(read)
    others = (name for name in there if name not in names)
    return WeightFiles(tuple(read), source, tuple(others))


def has_weights(folder: Path) -> bool:
    """Whether a folder has any file with the weights of a whole model."""
    return bool(_names(folder))


def _names(folder: Path) -> list[str]:
    """The files with a whole model's weights, safe ones first."""
    patterns = ("*.safetensors", *_PICKLES, *_OTHER_FORMATS)
    found = dict.fromkeys(
        path.name
        for pattern in patterns
        for path in sorted(folder.glob(pattern))
        if not path.name.startswith(".") and not _NO_WEIGHTS.match(path.name)
    )
    return list(found)


def shards_of(index: Path) -> list[str]:
    """The files that an index names, sorted. Raises CannotLoad for one that cannot be used."""
    try:
        content = json.loads(index.read_text(encoding="utf-8"))
        names = sorted({str(shard) for shard in content["weight_map"].values()})
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
        raise CannotLoad(f"the index of its weights ({index.name}) is damaged") from None
    if not names:
        raise CannotLoad(f"the index of its weights ({index.name}) names no file")
    if "metadata" not in content:
        raise CannotLoad(
            f'{index.name} has no "metadata", which transformers needs: add an empty one'
        )
    return names


def _no_weights(folder: Path, there: list[str], allow_pickle: bool) -> CannotLoad:
    safe = [name for name in there if name.endswith(".safetensors")]
    shards = [found for name in safe if (found := _SHARD.match(name))]
    if shards:
        stem, count = shards[0][1], int(shards[0][3])
        gone = count - len({found[2] for found in shards if found[1] == stem})
        missing = f", and {gone} of the {count} files" if gone > 0 else ""
        return CannotLoad(
            f"the index of its weights ({stem}.safetensors{INDEX}) is missing{missing}: copy it "
            f"from where {shards[0][0]} comes from"
        )
    if safe:
        return CannotLoad(
            f"its weights are looked for in {SAFE} (or the files that {SAFE}{INDEX} names), and "
            f"the folder has {_listed(safe)}"
        )
    pickled = [name for name in there if any(Path(name).match(each) for each in _PICKLES)]
    if pickled and not allow_pickle:
        return CannotLoad(
            f"only pickled weights ({pickled[0]}), which can run code when opened; "
            "convert them to safetensors, or allow them if you trust them",
            Remedy.ALLOW_PICKLE,
        )
    if pickled:
        return CannotLoad(
            f"its pickled weights are looked for in {PICKLED} (or the files that {PICKLED}{INDEX} "
            f"names), and the folder has {_listed(pickled)}"
        )
    for pattern, format_name in _OTHER_FORMATS.items():
        foreign = sorted(path.name for path in folder.glob(pattern))
        if foreign:
            return CannotLoad(
                f"its weights are in {format_name} format ({foreign[0]}); safetensors are needed"
            )
    below = sorted(
        path.parent.name for path in folder.glob("*/*.safetensors") if path.parent.is_dir()
    )
    hint = f"; there are some in {below[0]}/" if below else ""
    return CannotLoad(f"the folder has no weights (*.safetensors){hint}")


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that no file can have
        return False
