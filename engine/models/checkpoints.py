"""A model's folder, checked without torch, before the first frame."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.errors import BadInput, CannotLoad, Remedy
from engine.events import LoadOptions
from engine.models.adapters import Adapter, adapter_in, named_adapter
from engine.models.finding import find_folder
from engine.models.folder_bounds import refuse_unbounded_folder
from engine.models.git_lfs import refuse_pointers
from engine.models.hub_environment import refuse_unusable_environment
from engine.models.weight_files import WeightFiles, has_weights, weight_files
from engine.system.working_folder import refuse_to_import_without_working_folder

_TEXTS = ("*.json", "*.txt", "*.jinja", "*.model", "*.tiktoken")


@dataclass(frozen=True)
class Checkpoint:
    """What is known of a model's folder from its files."""

    folder: Path
    config: Mapping[str, Any]
    adapter: Adapter | None
    """The adapter to put onto the model."""
    notes: tuple[str, ...]
    """What was chosen, or passed over, where the folder holds more than one model."""

    def weights(self, allow_pickle: bool) -> WeightFiles:
        """The files with its weights. Raises CannotLoad."""
        return weight_files(self.folder, self.config, allow_pickle)


def local_checkpoint(options: LoadOptions) -> Checkpoint | None:
    """The folder that the model's name means, checked; None for a hub id, of which only the adapter
    is checked.

    Raises CannotLoad, naming what is wrong and the remedy; BadInput where the options have to say
    more.
    """
    name = options.model
    refuse_to_import_without_working_folder()
    try:
        found = find_folder(name)
        if found is None:
            refuse_unusable_environment(options)
            if options.adapter is not None:
                named_adapter(options.adapter, options.allow_pickle)
            return None
        folder, notes = found
        checkpoint = opened(folder, options, notes)
        checkpoint.weights(options.allow_pickle)
        return checkpoint
    except (CannotLoad, BadInput) as error:
        if name in str(error):
            raise
        raise type(error)(f"{name}: {error}", *error.remedies) from None
    except (OSError, RuntimeError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise CannotLoad(f"{name}: the folder cannot be read ({reason})") from None


def opened(folder: Path, options: LoadOptions, notes: tuple[str, ...] = ()) -> Checkpoint:
    """The checkpoint in a folder, from everything but its weights. Raises what `local_checkpoint`
    raises."""
    refuse_unbounded_folder(folder, options.model)
    refuse_pointers([file for pattern in _TEXTS for file in sorted(folder.glob(pattern))])
    adapter, more = _adapter(folder, options)
    config = _config(folder)
    _refuse_other_formats(config)
    return Checkpoint(folder, config, adapter, (*notes, *more))


def _adapter(folder: Path, options: LoadOptions) -> tuple[Adapter | None, tuple[str, ...]]:
    """The adapter to put onto the model, and a note where one is left out."""
    here = adapter_in(folder)
    if here is not None and not has_weights(folder):
        base = here.base or "the model it was made for"
        raise CannotLoad(
            f"{folder}: an adapter ({here.kind}) of {base}, without the model itself: load that "
            "model, with this folder as its adapter",
            Remedy.LOAD_MODEL,
            Remedy.WITH_ADAPTER,
        )
    named = None
    if options.adapter is not None:
        named = named_adapter(options.adapter, options.allow_pickle)
    if here is None or (named is not None and named.folder.resolve() == folder.resolve()):
        return named, ()
    if named is None and not options.no_adapter:
        raise BadInput(
            f"the folder holds a model and an adapter ({here.kind}): say whether the model is "
            "meant with it or without",
            Remedy.WITH_ADAPTER,
            Remedy.NO_ADAPTER,
        )
    return named, (f"the adapter in its folder ({here.kind}) was left out",)


def _config(folder: Path) -> dict[str, Any]:
    file = folder / "config.json"
    if not file.is_file():
        raise CannotLoad("no model here (the folder has no config.json)")
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise CannotLoad("the model's config.json is damaged")
    return content


def _refuse_other_formats(config: Mapping[str, Any]) -> None:
    """Raise CannotLoad for formats that transformers takes for its own, and reads wrong."""
    packed = config.get("quantization") or config.get("quantization_config")
    if (
        isinstance(packed, dict)
        and {"bits", "group_size"} <= packed.keys()
        and not any(key in packed for key in ("quant_method", "load_in_4bit", "load_in_8bit"))
    ):
        raise CannotLoad(
            f"its weights are packed to {packed['bits']} bits by MLX, which only MLX reads: use "
            "the checkpoint that it was converted from"
        )
    classes = config.get("architectures")
    named = classes[0] if isinstance(classes, list) and classes else config.get("model_type")
    if "vision_config" not in config and (
        "mm_vision_tower" in config or "mm_projector_type" in config
    ):
        raise CannotLoad(
            f"a checkpoint in the format of LLaVA's own code ({named}), which transformers does "
            "not read: a converted one is needed, such as those of llava-hf on the hub"
        )
