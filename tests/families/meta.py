"""Meta's families: Llama with a vision tower."""

from __future__ import annotations

import torch
from transformers import (
    Llama4Config,
    Llama4ForConditionalGeneration,
    MllamaConfig,
    MllamaForConditionalGeneration,
)

from tests.families.parts import IMAGE_ID, Tiny, as_inputs, family, text_config, vision_config


@family("mllama")
def mllama(layers: int = 6) -> Tiny:
    """Layers 2 and 5 are cross-attention, with gates; there is one token for the whole picture."""
    config = MllamaConfig(
        text_config=text_config(
            layers,
            cross_attention_layers=[1, 4],
            initializer_range=0.1,
            rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        ),
        vision_config=vision_config(
            num_global_layers=1,
            vision_output_dim=48,
            max_num_tiles=2,
            intermediate_layers_indices=[0, 1],
            supported_aspect_ratios=[[1, 1], [1, 2], [2, 1]],
        ),
        image_token_index=IMAGE_ID,
    )
    seen = torch.ones(1, 6, 1, 2, dtype=torch.long)
    seen[:, 0] = 0
    inputs = as_inputs(
        [1, IMAGE_ID, 5, 6, 7, 8],
        pixel_values=torch.randn(1, 1, 2, 3, 12, 12),
        aspect_ratio_ids=torch.tensor([[2]]),
        aspect_ratio_mask=torch.ones(1, 1, 2, dtype=torch.long),
        cross_attention_mask=seen,
    )
    return Tiny(MllamaForConditionalGeneration(config), inputs, layers)


@family("llama4")
def llama4(layers: int = 4) -> Tiny:
    """Experts in every second layer, chunked attention with RoPE and full attention without."""
    config = Llama4Config(
        text_config=text_config(
            layers,
            intermediate_size_mlp=64,
            head_dim=8,
            num_local_experts=4,
            num_experts_per_tok=2,
            interleave_moe_layer_step=2,
            no_rope_layers=[layer % 2 for layer in range(1, layers + 1)],
            attention_chunk_size=4,
            floor_scale=4,
            initializer_range=0.1,
        ),
        vision_config=vision_config(
            4,
            intermediate_size=64,
            vision_output_dim=32,
            projector_input_dim=32,
            projector_output_dim=32,
            initializer_range=0.1,
        ),
        boi_token_index=91,
        eoi_token_index=92,
        image_token_index=IMAGE_ID,
    )
    inputs = as_inputs(
        [1, 91, *[IMAGE_ID] * 4, 92, 5, 6, 7], pixel_values=torch.randn(1, 3, 16, 16)
    )
    return Tiny(Llama4ForConditionalGeneration(config), inputs, layers)
