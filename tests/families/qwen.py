"""Qwen's vision-language models and what is built like them."""

from __future__ import annotations

import torch
from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration

from tests.families.parts import IMAGE_ID, Tiny, as_inputs, family, text_config


@family("qwen2_vl")
def qwen2_vl(layers: int = 6, hidden: int = 32, rows: int = 4, columns: int = 6) -> Tiny:
    rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [1, 1, 2]}
    config = Qwen2VLConfig(
        text_config=text_config(layers, hidden, rope_parameters=rope),
        vision_config={
            "depth": 2,
            "embed_dim": 16,
            "hidden_size": hidden,
            "num_heads": 2,
            "patch_size": 4,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            "mlp_ratio": 2,
        },
        image_token_id=IMAGE_ID,
        video_token_id=91,
        vision_start_token_id=92,
        vision_end_token_id=93,
    )
    count = rows * columns // 4
    inputs = as_inputs(
        [1, 92, *[IMAGE_ID] * count, 93, 5, 6, 7],
        pixel_values=torch.randn(rows * columns, 3 * 2 * 4 * 4),
        image_grid_thw=torch.tensor([[1, rows, columns]]),
        mm_token_type_ids=torch.tensor([[0, 0, *[1] * count, 0, 0, 0, 0]]),
    )
    return Tiny(Qwen2VLForConditionalGeneration(config), inputs, layers)
