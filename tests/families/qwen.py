"""Qwen's vision-language models and what is built like them."""

from __future__ import annotations

from typing import Any

import torch
from transformers import (
    Cosmos3EdgeConfig,
    Cosmos3EdgeForConditionalGeneration,
    Cosmos3OmniConfig,
    Cosmos3OmniForConditionalGeneration,
    PaddleOCRVLConfig,
    PaddleOCRVLForConditionalGeneration,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5OmniThinkerConfig,
    Qwen2_5OmniThinkerForConditionalGeneration,
    Qwen2Config,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    Qwen3_5Config,
    Qwen3_5ForConditionalGeneration,
    Qwen3_5MoeConfig,
    Qwen3_5MoeForConditionalGeneration,
    Qwen3OmniMoeThinkerConfig,
    Qwen3OmniMoeThinkerForConditionalGeneration,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLMoeConfig,
    Qwen3VLMoeForConditionalGeneration,
    Qwen4ExpConfig,
    Qwen4ExpForConditionalGeneration,
    VideoLlama3Config,
    VideoLlama3ForConditionalGeneration,
    VideoLlama3VisionConfig,
)

from tests.families.parts import (
    IMAGE_ID,
    Tiny,
    as_inputs,
    family,
    text_config,
    vision_config,
)

PATCH = 4
ROPE = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [1, 1, 2]}
TOKENS = {
    "image_token_id": IMAGE_ID,
    "video_token_id": 91,
    "vision_start_token_id": 92,
    "vision_end_token_id": 93,
}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}


def grid_inputs(
    rows: int = 4, columns: int = 6, frames: int = 2, typed: bool = True
) -> dict[str, Any]:
    """A picture of flat patches, merged two by two, between its start and end, and words."""
    count = rows * columns // 4
    inputs = as_inputs(
        [1, 92, *[IMAGE_ID] * count, 93, 5, 6, 7],
        pixel_values=torch.randn(rows * columns, 3 * frames * PATCH**2),
        image_grid_thw=torch.tensor([[1, rows, columns]]),
    )
    if typed:
        inputs["mm_token_type_ids"] = (inputs["input_ids"] == IMAGE_ID).long()
    return inputs


def tower(hidden: int = 32, **changes: Any) -> dict[str, Any]:
    """Settings of a small vision tower for patches of any grid."""
    return {
        "depth": 2,
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_heads": 2,
        "patch_size": PATCH,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
        "out_hidden_size": hidden,
        "initializer_range": 0.2,
        **changes,
    }


def vivid(model: Any, *parts: str) -> Any:
    """The model with larger weights in these parts, whose config cannot ask for them: what they
    make of a picture is else nothing beside the embeddings of words."""
    with torch.no_grad():
        for part in parts:
            for parameter in model.get_submodule(part).parameters():
                if parameter.ndim > 1:
                    parameter *= 10
    return model


def _deepstack_tower(**changes: Any) -> dict[str, Any]:
    """Features of three depths, for the first three layers."""
    return tower(depth=3, deepstack_visual_indexes=[0, 1, 2], num_position_embeddings=16, **changes)


def _qwen3_text(layers: int, **changes: Any) -> dict[str, Any]:
    rope = {**ROPE, "mrope_section": [2, 1, 1], "mrope_interleaved": True}
    return text_config(layers, head_dim=8, rope_parameters=rope, **changes)


def _hybrid_text(layers: int, full: str, **changes: Any) -> dict[str, Any]:
    """Linear attention and attention of another kind in turn."""
    return _qwen3_text(
        layers,
        linear_conv_kernel_dim=2,
        linear_key_head_dim=8,
        linear_value_head_dim=8,
        linear_num_key_heads=2,
        linear_num_value_heads=4,
        layer_types=[full if layer % 2 else "linear_attention" for layer in range(layers)],
        **changes,
    )


@family("qwen2_vl")
def qwen2_vl(layers: int = 6, hidden: int = 32, rows: int = 4, columns: int = 6) -> Tiny:
    rope = ROPE | {"mrope_section": [hidden // 32, hidden // 32, hidden // 16]}
    config = Qwen2VLConfig(
        text_config=text_config(layers, hidden, rope_parameters=rope),
        vision_config={
            "depth": 2,
            "embed_dim": 16,
            "hidden_size": hidden,
            "num_heads": 2,
            "patch_size": PATCH,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            "mlp_ratio": 2,
        },
        **TOKENS,
    )
    inputs = grid_inputs(rows, columns)
    return Tiny(Qwen2VLForConditionalGeneration(config), inputs, layers)


@family("qwen2_5_vl")
def qwen2_5_vl(layers: int = 4) -> Tiny:
    """A tower of windows, whose order is undone; some decoder layers see a sliding window."""
    config = Qwen2_5_VLConfig(
        text_config=text_config(
            layers,
            rope_parameters=ROPE,
            use_sliding_window=True,
            sliding_window=4,
            max_window_layers=2,
        ),
        vision_config=tower(window_size=16, fullatt_block_indexes=[1]),
        **TOKENS,
    )
    return Tiny(Qwen2_5_VLForConditionalGeneration(config), grid_inputs(), layers)


@family("qwen3_vl")
def qwen3_vl(layers: int = 5) -> Tiny:
    """DeepStack: features of the tower are added after each of the first three layers."""
    config = Qwen3VLConfig(
        text_config=_qwen3_text(layers), vision_config=_deepstack_tower(), **TOKENS
    )
    return Tiny(Qwen3VLForConditionalGeneration(config), grid_inputs(), layers)


@family("qwen3_vl_moe")
def qwen3_vl_moe(layers: int = 5) -> Tiny:
    """DeepStack after three layers, and a mixture of experts."""
    config = Qwen3VLMoeConfig(
        text_config=_qwen3_text(layers, **EXPERTS), vision_config=_deepstack_tower(), **TOKENS
    )
    return Tiny(Qwen3VLMoeForConditionalGeneration(config), grid_inputs(), layers)


@family("qwen3_5")
def qwen3_5(layers: int = 4) -> Tiny:
    """Linear and full attention in turn."""
    config = Qwen3_5Config(
        text_config=_hybrid_text(layers, "full_attention"),
        vision_config=tower(num_position_embeddings=16),
        **TOKENS,
    )
    return Tiny(Qwen3_5ForConditionalGeneration(config), grid_inputs(), layers)


@family("qwen3_5_moe")
def qwen3_5_moe(layers: int = 4) -> Tiny:
    """Linear and full attention in turn, and a mixture of experts."""
    config = Qwen3_5MoeConfig(
        text_config=_hybrid_text(
            layers, "full_attention", shared_expert_intermediate_size=16, **EXPERTS
        ),
        vision_config=tower(num_position_embeddings=16),
        **TOKENS,
    )
    return Tiny(Qwen3_5MoeForConditionalGeneration(config), grid_inputs(), layers)


@family("qwen2_5_omni_thinker")
def qwen2_5_omni_thinker(layers: int = 4) -> Tiny:
    """The body is not the whole model less its head: the towers are beside it."""
    config = Qwen2_5OmniThinkerConfig(
        text_config=text_config(layers, rope_parameters=ROPE),
        vision_config=tower(window_size=16, fullatt_block_indexes=[1]),
        audio_config=_audio_tower(),
        audio_token_index=94,
        audio_start_token_id=95,
        audio_end_token_id=96,
        user_token_id=4,
        **TOKENS,
    )
    inputs = grid_inputs(typed=False)
    return Tiny(Qwen2_5OmniThinkerForConditionalGeneration(config), inputs, layers)


@family("qwen3_omni_moe_thinker")
def qwen3_omni_moe_thinker(layers: int = 5) -> Tiny:
    """DeepStack after three layers, a mixture of experts, and the towers beside the body."""
    config = Qwen3OmniMoeThinkerConfig(
        text_config=_qwen3_text(layers, **EXPERTS),
        vision_config=_deepstack_tower(),
        audio_config=_audio_tower(downsample_hidden_size=8),
        audio_token_id=94,
        audio_start_token_id=95,
        user_token_id=4,
        **TOKENS,
    )
    inputs = grid_inputs(typed=False)
    return Tiny(Qwen3OmniMoeThinkerForConditionalGeneration(config), inputs, layers)


def _audio_tower(**changes: Any) -> dict[str, Any]:
    return {
        "d_model": 16,
        "encoder_attention_heads": 2,
        "encoder_ffn_dim": 16,
        "encoder_layers": 1,
        "num_mel_bins": 8,
        "max_source_positions": 100,
        "output_dim": 32,
        **changes,
    }


@family("qwen4_exp")
def qwen4_exp(layers: int = 4) -> Tiny:
    """Hyper-connections: a stream several times as wide, mixed before the head with no norm;
    n-gram embeddings in the first layer, sparse attention in every second, experts in all."""
    config = Qwen4ExpConfig(
        text_config=_hybrid_text(
            layers,
            "indexed_attention",
            shared_expert_intermediate_size=16,
            hc_count=3,
            hc_lowrank=8,
            ple_layer_ids=[1],
            ple_embed_dim=16,
            ple_conv_kernel_size=2,
            heads_per_ngram=2,
            ngram_vocab_size_base=31,
            make_ngram_vocab_size_divisible_by=8,
            split_ngram_parts=4,
            indexer_n_heads=2,
            indexer_kv_heads=1,
            indexer_head_dim=8,
            indexer_budget=4,
            indexer_compress_ratio=2,
            initializer_range=0.2,
            **EXPERTS,
        ),
        vision_config=tower(num_position_embeddings=16),
        **TOKENS,
    )
    return Tiny(Qwen4ExpForConditionalGeneration(config), grid_inputs(), layers)


@family("video_llama_3")
def video_llama_3(layers: int = 4) -> Tiny:
    config = VideoLlama3Config(
        text_config=Qwen2Config(**text_config(layers)),
        vision_config=VideoLlama3VisionConfig(
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            patch_size=PATCH,
        ),
        image_token_id=IMAGE_ID,
        video_token_id=91,
    )
    inputs = grid_inputs(frames=1, typed=False)
    inputs["image_merge_sizes"] = torch.tensor([2])
    model = vivid(
        VideoLlama3ForConditionalGeneration(config), "model.vision_model", "model.projector"
    )
    return Tiny(model, inputs, layers)


@family("cosmos3_edge")
def cosmos3_edge(layers: int = 4) -> Tiny:
    config = Cosmos3EdgeConfig(
        text_config=text_config(layers, head_dim=8, rope_parameters=ROPE),
        vision_config={
            "hidden_size": 16,
            "intermediate_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "patch_size": PATCH,
            "num_patches": 16,
        },
        projector_hidden_size=32,
        **TOKENS,
    )
    model = vivid(Cosmos3EdgeForConditionalGeneration(config), "model.visual", "model.projector")
    return Tiny(model, grid_inputs(frames=1), layers)


@family("cosmos3_omni")
def cosmos3_omni(layers: int = 5) -> Tiny:
    """DeepStack after three layers."""
    config = Cosmos3OmniConfig(
        text_config=_qwen3_text(layers), vision_config=_deepstack_tower(), **TOKENS
    )
    return Tiny(Cosmos3OmniForConditionalGeneration(config), grid_inputs(), layers)


@family("paddleocr_vl")
def paddleocr_vl(layers: int = 4) -> Tiny:
    """Tied embeddings."""
    config = PaddleOCRVLConfig(
        text_config=text_config(layers, head_dim=8, rope_parameters=ROPE),
        vision_config=vision_config(4),
        **TOKENS,
    )
    inputs = grid_inputs(frames=1)
    inputs["pixel_values"] = inputs["pixel_values"].unflatten(1, (3, PATCH, PATCH))
    model = vivid(PaddleOCRVLForConditionalGeneration(config), "model.visual", "model.projector")
    return Tiny(model, inputs, layers)
