"""GLM's vision-language models, and ERNIE's, which is built like them."""

from __future__ import annotations

from typing import Any

from transformers import (
    Ernie4_5_VLMoeConfig,
    Ernie4_5_VLMoeForConditionalGeneration,
    Glm4vConfig,
    Glm4vForConditionalGeneration,
    Glm4vMoeConfig,
    Glm4vMoeForConditionalGeneration,
    Glm5NextConfig,
    Glm5NextForConditionalGeneration,
    Glm46VConfig,
    Glm46VForConditionalGeneration,
    GlmgaConfig,
    GlmOcrConfig,
    GlmOcrForConditionalGeneration,
)

from tests.families.parts import IMAGE_ID, Tiny, family, text_config
from tests.families.qwen import ROPE, grid_inputs, tower, vivid

TOKENS = {
    "image_token_id": IMAGE_ID,
    "video_token_id": 91,
    "image_start_token_id": 92,
    "image_end_token_id": 93,
    "video_start_token_id": 94,
    "video_end_token_id": 95,
}
EXPERTS = {
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "n_shared_experts": 1,
    "moe_intermediate_size": 16,
}


def _text(layers: int, **changes: Any) -> dict[str, Any]:
    return text_config(layers, rope_parameters=ROPE, **changes)


def _tower(**changes: Any) -> dict[str, Any]:
    return tower(image_size=16, **changes)


@family("glm4v")
def glm4v(layers: int = 4) -> Tiny:
    """Norms after attention and MLP, inside the layer."""
    config = Glm4vConfig(text_config=_text(layers), vision_config=_tower(), **TOKENS)
    return Tiny(Glm4vForConditionalGeneration(config), grid_inputs(), layers)


@family("glm4v_moe")
def glm4v_moe(layers: int = 4) -> Tiny:
    """A mixture of experts after one dense layer."""
    rope = {**ROPE, "partial_rotary_factor": 0.5}
    config = Glm4vMoeConfig(
        text_config=text_config(layers, head_dim=16, rope_parameters=rope, **EXPERTS),
        vision_config=_tower(),
        **TOKENS,
    )
    return Tiny(Glm4vMoeForConditionalGeneration(config), grid_inputs(), layers)


@family("glm46v")
def glm46v(layers: int = 4) -> Tiny:
    config = Glm46VConfig(
        text_config={"model_type": "glm4v_text", **_text(layers)},
        vision_config={"model_type": "glm4v_vision", **_tower()},
        **TOKENS,
    )
    return Tiny(Glm46VForConditionalGeneration(config), grid_inputs(), layers)


@family("glmga")
def glmga(layers: int = 4) -> Tiny:
    """GLM-4.6V's class under another config."""
    config = GlmgaConfig(
        text_config={"model_type": "glm4v_text", **_text(layers)},
        vision_config={"model_type": "glm4v_vision", **_tower()},
        **TOKENS,
    )
    return Tiny(Glm46VForConditionalGeneration(config), grid_inputs(), layers)


@family("glm_ocr")
def glm_ocr(layers: int = 4) -> Tiny:
    """Norms after attention and MLP, inside the layer."""
    config = GlmOcrConfig(text_config=_text(layers), vision_config=_tower(), **TOKENS)
    return Tiny(GlmOcrForConditionalGeneration(config), grid_inputs(), layers)


@family("glm5_next")
def glm5_next(layers: int = 5) -> Tiny:
    """Hyper-connections: a 4-D stream; layers return a tuple. Linear attention and two layers of
    sparse attention, of which the second takes its indices from the first; experts."""
    config = Glm5NextConfig(
        text_config=text_config(
            layers,
            num_key_value_heads=4,
            q_lora_rank=16,
            kv_lora_rank=8,
            qk_nope_head_dim=8,
            v_head_dim=8,
            linear_num_heads=2,
            linear_head_dim=8,
            linear_conv_kernel_dim=2,
            index_topk=4,
            index_kpool=2,
            index_n_heads=2,
            index_head_dim=8,
            hc_mult=3,
            layer_types=[
                "indexed_attention" if layer % 3 else "linear_attention" for layer in range(layers)
            ],
            indexer_types=["shared" if layer % 3 == 2 else "full" for layer in range(layers)],
            mlp_layer_types=["dense", *["sparse"] * (layers - 1)],
            **EXPERTS,
        ),
        vision_config=_tower(projection_intermediate_size=32),
        **TOKENS,
    )
    return Tiny(Glm5NextForConditionalGeneration(config), grid_inputs(), layers)


@family("ernie4_5_vl_moe")
def ernie4_5_vl_moe(layers: int = 4) -> Tiny:
    """Separate mixtures of experts for words and for the picture; tied embeddings."""
    config = Ernie4_5_VLMoeConfig(
        text_config=_text(
            layers,
            moe_num_experts=4,
            moe_k=2,
            moe_num_shared_experts=1,
            moe_intermediate_size=[16, 8],
        ),
        vision_config={
            "depth": 2,
            "hidden_size": 16,
            "intermediate_size": 32,
            "num_heads": 2,
            "patch_size": 4,
        },
        **TOKENS,
    )
    model = vivid(
        Ernie4_5_VLMoeForConditionalGeneration(config),
        "model.vision_tower",
        "model.resampler_model",
    )
    return Tiny(model, grid_inputs(frames=1), layers)
