"""IBM's Granite with a vision tower."""

from __future__ import annotations

from typing import Any

import torch
from transformers import (
    Granite4VisionConfig,
    Granite4VisionForConditionalGeneration,
    GraniteDoclingConfig,
    GraniteDoclingForConditionalGeneration,
)

from tests.families.parts import IMAGE_ID, Tiny, as_inputs, family, text_config, vision_config

MULTIPLIERS: dict[str, Any] = {
    "embedding_multiplier": 3.0,
    "logits_scaling": 0.5,
    "residual_multiplier": 0.8,
    "attention_multiplier": 0.4,
}


@family("granite4_vision")
def granite4_vision(layers: int = 7) -> Tiny:
    """Features of the tower are added before layers 1, 3, 4, 5, 6 and 7; scaled logits."""
    config = Granite4VisionConfig(
        text_config=text_config(layers, **MULTIPLIERS),
        vision_config={
            "model_type": "clip_vision_model",
            **vision_config(4, hidden_size=64, num_hidden_layers=3),
        },
        qformer_config={
            "model_type": "blip_2_qformer",
            "num_hidden_layers": 1,
            "intermediate_size": 32,
            "cross_attention_frequency": 1,
            "use_qformer_text_input": False,
        },
        image_token_index=IMAGE_ID,
        image_grid_pinpoints=[[16, 32]],
        downsample_rate="1/2",
        deepstack_layer_map=[[-1, 0], [-2, 2]],
        spatial_target_layers=[3, 4, 5, 6],
    )
    base, rows, columns = 4, 2, 4
    count = base + rows * (columns + 1)
    inputs = as_inputs(
        [1, *[IMAGE_ID] * count, 5, 6, 7],
        pixel_values=torch.randn(1, 3, 3, 16, 16),
        image_sizes=torch.tensor([[16, 32]]),
    )
    return Tiny(Granite4VisionForConditionalGeneration(config), inputs, layers)


@family("granite_docling")
def granite_docling(layers: int = 5) -> Tiny:
    """DeepStack after the first three layers; scaled logits."""
    config = GraniteDoclingConfig(
        text_config=text_config(layers, **MULTIPLIERS),
        vision_config=vision_config(
            4,
            num_hidden_layers=3,
            out_hidden_size=32,
            scale_factor=2,
            deepstack_visual_indexes=[0, 1, 2],
        ),
        image_token_id=IMAGE_ID,
        pad_token_id=0,
    )
    inputs = as_inputs(
        [1, *[IMAGE_ID] * 4, 5, 6, 7],
        pixel_values=torch.randn(1, 1, 3, 16, 16),
        pixel_attention_mask=torch.ones(1, 1, dtype=torch.bool),
    )
    return Tiny(GraniteDoclingForConditionalGeneration(config), inputs, layers)
