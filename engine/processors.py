"""Loading a model's processor: all of it, or its image half where its video half cannot load.

Without torchvision the video halves of some processors (Qwen2-VL, SmolVLM and others) do not
import, and with them the whole processor fails. Pictures need no video half, so the same
processor class is then built from tokenizer and image processor alone.
"""

from __future__ import annotations

from typing import Any

VIDEO = "video_processor"


class _NoVideo(dict[str, Any]):
    """Stands where the video half was; a dict, since transformers prints processors as JSON."""

    num_frames = fps = 0
    merge_size = 1


def load_processor(folder: str, config: Any, **options: Any) -> Any:
    """The processor of a checkpoint, or its tokenizer where it takes text only.

    `options` go to `from_pretrained`. Raises what transformers raises.
    """
    from transformers import AutoProcessor, AutoTokenizer
    from transformers.models.auto.processing_auto import PROCESSOR_MAPPING

    try:
        return AutoProcessor.from_pretrained(folder, **options)
    except Exception:
        full = PROCESSOR_MAPPING.get(type(config), None)
        if full is None:
            return AutoTokenizer.from_pretrained(folder, **options)
        if VIDEO not in full.get_attributes():
            raise
        return image_half(full).from_pretrained(folder, **options)


def image_half(full: Any) -> Any:
    """The processor class `full` without its video half."""

    class ImageHalf(full):  # type: ignore[misc]
        """Tokenizer and image processor of the full processor."""

        def check_argument_for_proper_class(self, argument_name: str, argument: Any) -> Any:
            if argument_name == VIDEO:
                return type(argument)
            return super().check_argument_for_proper_class(argument_name, argument)

        @classmethod
        def _get_arguments_from_pretrained(
            cls, pretrained_model_name_or_path: str, processor_dict: Any = None, **kwargs: Any
        ) -> list[Any]:
            from transformers import AutoImageProcessor, AutoTokenizer

            kwargs.pop("subfolder", None)
            loaders = {"tokenizer": AutoTokenizer, "image_processor": AutoImageProcessor}
            return [
                loaders[attribute].from_pretrained(pretrained_model_name_or_path, **kwargs)
                if attribute in loaders
                else _NoVideo()
                for attribute in full.get_attributes()
            ]

    ImageHalf.__name__ = full.__name__
    ImageHalf.__qualname__ = full.__qualname__
    return ImageHalf


def tokenizer_of(processor: Any) -> Any:
    """The tokenizer inside a processor, or the tokenizer itself."""
    return getattr(processor, "tokenizer", processor)


def takes_pictures(processor: Any) -> bool:
    """Whether there is an image processor inside."""
    return getattr(processor, "image_processor", None) is not None
