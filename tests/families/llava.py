"""The LLaVA line: a vision tower, a projector, and any decoder."""

from __future__ import annotations

from typing import Any

import torch
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
    LlavaNextVideoConfig,
    LlavaNextVideoForConditionalGeneration,
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    Qwen2Config,
    SiglipVisionConfig,
    VideoLlavaConfig,
    VideoLlavaForConditionalGeneration,
    VipLlavaConfig,
    VipLlavaForConditionalGeneration,
)

from tests.families.parts import IMAGE_ID, Tiny, as_inputs, family, text_config, vision_config

VIVID: dict[str, Any] = {"initializer_range": 0.2}
"""Weights large enough for what is made of a picture to count beside the embeddings of words."""


@family("llava")
def llava(layers: int = 6, hidden: int = 32, patches: int = 3) -> Tiny:
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**vision_config(patches)),
        text_config=LlamaConfig(**text_config(layers, hidden)),
        image_token_index=IMAGE_ID,
        vision_feature_layer=-1,
        image_seq_length=patches**2,
    )
    pixels = torch.randn(1, 3, 4 * patches, 4 * patches)
    inputs = as_inputs([1, *[IMAGE_ID] * patches**2, 5, 6, 7, 8], pixel_values=pixels)
    return Tiny(LlavaForConditionalGeneration(config), inputs, layers)


def _tiled_inputs(tokens: int) -> dict[str, Any]:
    """A picture of 16 x 24 pixels: whole, and as two by two tiles of 12 x 12, padded."""
    return as_inputs(
        [1, *[IMAGE_ID] * tokens, 5, 6, 7, 8],
        pixel_values=torch.randn(1, 5, 3, 12, 12),
        image_sizes=torch.tensor([[16, 24]]),
    )


UNPADDED = 9 + 4 * (6 + 1)
"""Tokens of such a picture: the whole one's, and rows of the tiles', each closed by a newline."""
PINPOINTS = [[12, 24], [24, 12], [24, 24]]


@family("llava_next")
def llava_next(layers: int = 4) -> Tiny:
    """Tiles, unpadded, their rows closed by an embedding that has the id of image tokens."""
    config = LlavaNextConfig(
        vision_config=CLIPVisionConfig(**vision_config(**VIVID)),
        text_config=LlamaConfig(**text_config(layers, **VIVID)),
        image_token_index=IMAGE_ID,
        image_grid_pinpoints=PINPOINTS,
        image_seq_length=9,
    )
    return Tiny(LlavaNextForConditionalGeneration(config), _tiled_inputs(UNPADDED), layers)


@family("llava_next_video")
def llava_next_video(layers: int = 4) -> Tiny:
    """Tiles as in LLaVA-NeXT; frames of films, not given here, would be pooled."""
    config = LlavaNextVideoConfig(
        vision_config=CLIPVisionConfig(**vision_config(**VIVID)),
        text_config=LlamaConfig(**text_config(layers, **VIVID)),
        image_token_index=IMAGE_ID,
        video_token_index=91,
        image_grid_pinpoints=PINPOINTS,
        image_seq_length=9,
    )
    return Tiny(LlavaNextVideoForConditionalGeneration(config), _tiled_inputs(UNPADDED), layers)


@family("llava_onevision")
def llava_onevision(layers: int = 4) -> Tiny:
    """Tiles whose grid, 4 x 6, is too large and shrunk to 2 x 3; its rows end in a newline."""
    config = LlavaOnevisionConfig(
        vision_config=SiglipVisionConfig(**vision_config(**VIVID)),
        text_config=Qwen2Config(**text_config(layers, **VIVID)),
        image_token_index=IMAGE_ID,
        video_token_index=91,
        image_grid_pinpoints=PINPOINTS,
        vision_aspect_ratio="anyres_max_1",
    )
    inputs = _tiled_inputs(9 + 2 * (3 + 1))
    return Tiny(LlavaOnevisionForConditionalGeneration(config), inputs, layers)


@family("vipllava")
def vipllava(layers: int = 4) -> Tiny:
    """Features of several depths of the tower, side by side."""
    config = VipLlavaConfig(
        vision_config=CLIPVisionConfig(**vision_config(**VIVID)),
        text_config=LlamaConfig(**text_config(layers, **VIVID)),
        image_token_index=IMAGE_ID,
        vision_feature_layer=[-1, -2, 0],
        image_seq_length=9,
    )
    inputs = as_inputs([1, *[IMAGE_ID] * 9, 5, 6, 7, 8], pixel_values=torch.randn(1, 3, 12, 12))
    return Tiny(VipLlavaForConditionalGeneration(config), inputs, layers)


@family("video_llava")
def video_llava(layers: int = 4) -> Tiny:
    """Two towers, for pictures and for films, of which only the first is called."""
    config = VideoLlavaConfig(
        vision_config=CLIPVisionConfig(**vision_config(**VIVID)),
        text_config=LlamaConfig(**text_config(layers, **VIVID)),
        image_token_index=IMAGE_ID,
        video_token_index=91,
        image_seq_length=9,
        video_seq_length=18,
    )
    inputs = as_inputs([1, *[IMAGE_ID] * 9, 5, 6, 7, 8], pixel_values=torch.randn(1, 3, 12, 12))
    return Tiny(VideoLlavaForConditionalGeneration(config), inputs, layers)
