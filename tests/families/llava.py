"""The LLaVA line: a vision tower, a projector, and any decoder."""

from __future__ import annotations

import torch
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
)

from tests.families.parts import IMAGE_ID, Tiny, as_inputs, family, text_config, vision_config


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
