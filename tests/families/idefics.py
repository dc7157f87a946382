"""Hugging Face's families: Idefics and SmolVLM."""

from __future__ import annotations

from typing import Any

import torch
from transformers import (
    Idefics2Config,
    Idefics2ForConditionalGeneration,
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    IdeficsConfig,
    IdeficsForVisionText2Text,
    LlamaConfig,
    MistralConfig,
    SmolVLMConfig,
    SmolVLMForConditionalGeneration,
)

from tests.families.parts import IMAGE_ID, Tiny, as_inputs, family, text_config, vision_config


@family("idefics")
def idefics(layers: int = 6) -> Tiny:
    """Gated cross-attention blocks of a second list before layers 1, 3 and 5; a head whose last
    ids have weights of their own."""
    settings = text_config(layers)
    del settings["num_key_value_heads"]
    config = IdeficsConfig(
        **settings,
        initializer_range=0.1,
        additional_vocab_size=2,
        cross_layer_interval=2,
        alpha_type="vector",
        vision_config={"embed_dim": 16, **vision_config()},
    )
    seen = torch.ones(1, 8, 1, dtype=torch.long)
    seen[:, 0] = 0
    inputs = as_inputs(
        [1, 99, 100, 5, 6, 7, 8, 9],
        pixel_values=torch.randn(1, 1, 3, 12, 12),
        image_attention_mask=seen,
    )
    return Tiny(IdeficsForVisionText2Text(config), inputs, layers)


@family("idefics2")
def idefics2(layers: int = 4) -> Tiny:
    """A Perceiver that makes image tokens of any picture; sliding attention."""
    config = Idefics2Config(
        text_config=MistralConfig(**text_config(layers), sliding_window=6, initializer_range=0.1),
        vision_config=vision_config(4),
        perceiver_config={
            "hidden_size": 32,
            "resampler_n_latents": 3,
            "resampler_depth": 2,
            "resampler_n_heads": 2,
            "resampler_head_dim": 8,
            "num_key_value_heads": 1,
            "initializer_range": 0.1,
        },
        image_token_id=IMAGE_ID,
    )
    return Tiny(Idefics2ForConditionalGeneration(config), _tiles(1, 3), layers)


@family("idefics3")
def idefics3(layers: int = 4) -> Tiny:
    config = Idefics3Config(**_shuffled(layers))
    return Tiny(Idefics3ForConditionalGeneration(config), _tiles(2, 4), layers)


@family("smolvlm")
def smolvlm(layers: int = 4) -> Tiny:
    config = SmolVLMConfig(**_shuffled(layers))
    return Tiny(SmolVLMForConditionalGeneration(config), _tiles(2, 4), layers)


def _shuffled(layers: int) -> dict[str, Any]:
    """Settings where two by two patches make an image token."""
    return {
        "text_config": LlamaConfig(**text_config(layers), initializer_range=0.1),
        "vision_config": vision_config(4),
        "image_token_id": IMAGE_ID,
        "scale_factor": 2,
        "pad_token_id": 0,
    }


def _tiles(count: int, tokens: int) -> dict[str, Any]:
    """Tiles of one picture, a token between them, and words."""
    ids = [1]
    for _ in range(count):
        ids += [91, *[IMAGE_ID] * tokens]
    return as_inputs([*ids, 91, 5, 6, 7], pixel_values=torch.randn(1, count, 3, 16, 16))
