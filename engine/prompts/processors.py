"""Loads a model's processor: all of it, or only its picture half where the rest cannot load.

Without torchvision the video halves of some processors (Qwen2-VL and others) do not import, and
with them the whole processor fails. Pictures need no video half, so the same processor class is
then built without it.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

PROCESSOR_FILES = ("processor_config.json", "preprocessor_config.json")

NO_PROCESSOR = (
    "its folder has no picture processor: to show it pictures, copy preprocessor_config.json and "
    "processor_config.json (those that there are) from the model that it was made from"
)

_NO_SETTINGS = {"self", "chat_template", "tokenizer", "image_processor", "kwargs", "args"}
"""Parameters of a processor's class that are its parts."""


class _Absent(dict[str, Any]):
    """Takes the place of a missing half; a dict, since transformers prints processors as JSON."""

    num_frames = fps = 0
    merge_size = 1


def load_processor(folder: Path, model: Any, **options: Any) -> tuple[Any, tuple[str, ...]]:
    """The processor of a checkpoint, or its tokenizer where the model takes text only or no
    processor was saved; and what the user has to know about it.

    `options` go to `from_pretrained`. Raises what transformers raises.
    """
    from transformers import AutoProcessor, AutoTokenizer
    from transformers.models.auto.processing_auto import PROCESSOR_MAPPING

    config, source = model.config, str(folder)
    full = PROCESSOR_MAPPING.get(type(config), None)
    try:
        processor = AutoProcessor.from_pretrained(source, **options)
    except Exception:
        if full is None or not saved_settings(folder):
            tokenizer = AutoTokenizer.from_pretrained(source, **options)
            return tokenizer, () if full is None else (NO_PROCESSOR,)
        if getattr(full, "is_dummy", False):
            raise
        # What fails now is needed for pictures; its error names what to do.
        processor = picture_half(full, config).from_pretrained(source, **options)
    return processor, fill_in(processor, model, saved_settings(folder))


def misses_processor(model: Any, processor: Any) -> bool:
    """Whether a model takes pictures, and only its tokenizer was saved with it."""
    from transformers.models.auto.processing_auto import PROCESSOR_MAPPING

    known = PROCESSOR_MAPPING.get(type(model.config), None) is not None
    return known and not takes_pictures(processor)


def saved_settings(folder: Path) -> set[str]:
    """The names of all settings that a checkpoint's processor files hold; empty without any."""
    names: set[str] = set()
    for file in PROCESSOR_FILES:
        if (folder / file).is_file():
            content = json.loads((folder / file).read_text(encoding="utf-8"))
            if isinstance(content, dict):
                names.update(content)
    return names


def picture_half(full: Any, config: Any = None) -> Any:
    """The processor class `full` with its tokenizer, picture and sound halves only.

    `config` is the model's: it determines the image processor where the checkpoint names one that
    transformers no longer has.
    """

    class PictureHalf(full):  # type: ignore[misc]
        """The parts of the full processor that a picture and a prompt need."""

        def check_argument_for_proper_class(self, argument_name: str, argument: Any) -> Any:
            if isinstance(argument, _Absent):
                return type(argument)
            return super().check_argument_for_proper_class(argument_name, argument)

        @classmethod
        def _get_arguments_from_pretrained(
            cls, pretrained_model_name_or_path: str, processor_dict: Any = None, **kwargs: Any
        ) -> list[Any]:
            from transformers import AutoFeatureExtractor, AutoImageProcessor, AutoTokenizer

            kwargs.pop("subfolder", None)

            def load(half: str) -> Any:
                path = pretrained_model_name_or_path
                if half == "tokenizer":
                    return AutoTokenizer.from_pretrained(path, **kwargs)
                if half == "image_processor":
                    return AutoImageProcessor.from_pretrained(path, config=config, **kwargs)
                if half == "feature_extractor":
                    return AutoFeatureExtractor.from_pretrained(path, **kwargs)
                return _Absent()

            return [load(half) for half in full.get_attributes()]

    PictureHalf.__name__ = full.__name__
    PictureHalf.__qualname__ = full.__qualname__
    return PictureHalf


def fill_in(processor: Any, model: Any, saved: Collection[str]) -> tuple[str, ...]:
    """Set what a processor of an older version does not say from the model: every setting of its
    class that none of its files names (`saved`) and that the model's config or its vision tower
    has. Returns notes on what was filled in that changes how a picture is counted.
    """
    filled = []
    for name, parameter in inspect.signature(type(processor).__init__).parameters.items():
        if name in saved or not hasattr(processor, name) or name in _NO_SETTINGS:
            continue
        found = _from_model(name, model)
        present = getattr(processor, name)
        if found is None or found == present:
            continue
        setattr(processor, name, found)
        if present is not None or parameter.default is not None:
            filled.append(f"{name} {found}")
    if not filled:
        return ()
    return (
        f"its processor was saved by an older version; taken from the model: {', '.join(filled)}",
    )


def _from_model(name: str, model: Any) -> Any:
    """A processor's setting as the model itself has it; None where it does not."""
    if name == "num_additional_image_tokens":
        return _additional_positions(model)
    config = model.config
    for owner in (config, getattr(config, "vision_config", None)):
        value = getattr(owner, name, None)
        if isinstance(value, (int, str)) and not isinstance(value, bool):
            return value
    return None


def _additional_positions(model: Any) -> int | None:
    """How many positions the vision tower has beside its patches: 1 for CLIP's class token."""
    for module in model.modules():
        positions, patches = (
            getattr(module, name, None) for name in ("num_positions", "num_patches")
        )
        if isinstance(positions, int) and isinstance(patches, int):
            return positions - patches
    return None


def tokenizer_of(processor: Any) -> Any:
    """The tokenizer inside a processor, or the tokenizer itself."""
    return getattr(processor, "tokenizer", processor)


def takes_pictures(processor: Any) -> bool:
    """Whether a processor has an image processor."""
    return getattr(processor, "image_processor", None) is not None
