"""Inkling: short convolutions, relative positions, and a head wider than the vocabulary."""

from __future__ import annotations

from typing import Any

import torch
from transformers import (
    Inkling2Config,
    Inkling2ForConditionalGeneration,
    InklingConfig,
    InklingForConditionalGeneration,
)

from tests.families.parts import IMAGE_ID, VOCABULARY, Tiny, as_inputs, family

PATCH = 4


def _text(layers: int, **changes: Any) -> dict[str, Any]:
    """Sliding and full attention in turn, experts in every layer, a few ids cut off."""
    return {
        "vocab_size": VOCABULARY,
        "unpadded_vocab_size": VOCABULARY - 3,
        "hidden_size": 32,
        "moe_intermediate_size": 16,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "swa_num_attention_heads": 4,
        "swa_num_key_value_heads": 2,
        "swa_head_dim": 8,
        "sliding_window_size": 4,
        "d_rel": 4,
        "rel_extent": 8,
        "layer_types": ["hybrid" if layer % 2 else "hybrid_sliding" for layer in range(layers)],
        "conv_kernel_size": 2,
        "n_routed_experts": 4,
        "num_experts_per_tok": 2,
        "route_scale": 1.0,
        "initializer_range": 0.2,
        "pad_token_id": 0,
        "eos_token_id": 2,
        **changes,
    }


@family("inkling2")
def inkling2(layers: int = 6) -> Tiny:
    """Every layer and the tail attend over the blocks of two layers that are complete; a soft-cap
    that is a module after the head."""
    config = Inkling2Config(
        text_config=_text(layers, n_layers_per_attn_res_block=2, final_logit_softcapping=3.0),
        vision_config={
            "hidden_size": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "patch_size": PATCH,
            "mlp_ratio": 2.0,
            "posemb_grid_size": 4,
            "projection_hidden_dim": 16,
            "text_hidden_size": 32,
            "initializer_range": 0.2,
        },
        image_token_id=IMAGE_ID,
    )
    inputs = as_inputs(
        [1, *[IMAGE_ID] * 6, 5, 6, 7],
        pixel_values=torch.randn(6, 2 * PATCH, 2 * PATCH, 3),
        image_grid_thw=torch.tensor([[1, 2, 3]]),
    )
    return Tiny(Inkling2ForConditionalGeneration(config), inputs, layers)


@family("inkling_mm_model")
def inkling_mm_model(layers: int = 4) -> Tiny:
    """The stream is divided by a width multiplier before the head."""
    mlps = ["dense" if layer == 0 else "sparse" for layer in range(layers)]
    config = InklingConfig(
        text_config=_text(
            layers, intermediate_size=64, mlp_layer_types=mlps, logits_mup_width_multiplier=6.0
        ),
        vision_config={
            "patch_size": PATCH,
            "hidden_size": 16,
            "num_hidden_layers": 4,
            "num_attention_heads": 2,
            "initializer_range": 0.2,
        },
        audio_config={"n_mel_bins": 4, "mel_vocab_size": 8},
        image_token_id=IMAGE_ID,
        audio_token_id=91,
        image_bos_token_id=92,
        audio_bos_token_id=93,
    )
    inputs = as_inputs(
        [1, *[IMAGE_ID] * 6, 5, 6, 7], pixel_values=torch.randn(6, 2, PATCH, PATCH, 3)
    )
    return Tiny(InklingForConditionalGeneration(config), inputs, layers)
