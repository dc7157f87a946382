"""Loads a model's processor: all of it, or only its picture half where the rest cannot load.

Without torchvision the video halves of some processors (Qwen2-VL and others) do not import, and
with them the whole processor fails. Pictures need no video half, so the same processor class is
then built without it.
"""

from __future__ import annotations

from typing import Any


class _Absent(dict[str, Any]):
    """Takes the place of a missing half; a dict, since transformers prints processors as JSON."""

    num_frames = fps = 0
    merge_size = 1


def load_processor(folder: str, config: Any, **options: Any) -> Any:
    """The processor of a checkpoint, or its tokenizer where the model takes text only.

    `options` go to `from_pretrained`. Raises what transformers raises.
    """
    from transformers import AutoProcessor, AutoTokenizer
    from transformers.models.auto.processing_auto import PROCESSOR_MAPPING

    try:
        processor = AutoProcessor.from_pretrained(folder, **options)
    except Exception:
        full = PROCESSOR_MAPPING.get(type(config), None)
        if full is None:
            return AutoTokenizer.from_pretrained(folder, **options)
        if getattr(full, "is_dummy", False):
            raise
        # What fails now is needed for pictures; its error names what to do.
        processor = picture_half(full, config).from_pretrained(folder, **options)
    _fill_in(processor, config)
    return processor


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


def _fill_in(processor: Any, config: Any) -> None:
    """Take settings that older checkpoints keep in the model's config into the processor."""
    vision = getattr(config, "vision_config", None)
    if getattr(processor, "patch_size", 0) is None:
        processor.patch_size = getattr(vision, "patch_size", None)


def tokenizer_of(processor: Any) -> Any:
    """The tokenizer inside a processor, or the tokenizer itself."""
    return getattr(processor, "tokenizer", processor)


def takes_pictures(processor: Any) -> bool:
    """Whether a processor has an image processor."""
    return getattr(processor, "image_processor", None) is not None
