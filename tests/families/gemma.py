"""Google's families: Gemma, PaliGemma and their kin."""

from __future__ import annotations

from typing import Any

import torch
from transformers import (
    DiffusionGemmaConfig,
    DiffusionGemmaForBlockDiffusion,
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    Gemma3nConfig,
    Gemma3nForCausalLM,
    Gemma3nForConditionalGeneration,
    Gemma3nTextConfig,
    Gemma4Config,
    Gemma4ForConditionalGeneration,
    Gemma4UnifiedConfig,
    Gemma4UnifiedForConditionalGeneration,
    PaliGemmaConfig,
    PaliGemmaForConditionalGeneration,
    PI0Config,
    PI0ForConditionalGeneration,
    ShieldGemma2Config,
    SiglipVisionConfig,
    T5Gemma2Config,
    T5Gemma2ForConditionalGeneration,
)

from tests.families.parts import (
    IMAGE_ID,
    VOCABULARY,
    Tiny,
    as_inputs,
    family,
    text_config,
    text_inputs,
    vision_config,
)

CAP = 3.0
MARKS = {"boi_token_index": 92, "eoi_token_index": 93, "image_token_index": IMAGE_ID}


def _kinds(layers: int) -> list[str]:
    """Sliding and full attention in turn."""
    return ["full_attention" if layer % 2 else "sliding_attention" for layer in range(layers)]


def _gemma_text(layers: int, **changes: Any) -> dict[str, Any]:
    settings = {
        "head_dim": 8,
        "query_pre_attn_scalar": 8,
        "sliding_window": 4,
        "layer_types": _kinds(layers),
        "initializer_range": 0.1,
    }
    return text_config(layers, **{**settings, **changes})


def _siglip(patches: int = 4) -> dict[str, Any]:
    return {
        "model_type": "siglip_vision_model",
        "vision_use_head": False,
        **vision_config(patches),
    }


def _prompt(count: int, **others: Any) -> dict[str, Any]:
    """A picture of so many tokens between its start and end, and words."""
    return as_inputs([1, 92, *[IMAGE_ID] * count, 93, 5, 6, 7], **others)


def _typed(inputs: dict[str, Any], name: str = "token_type_ids") -> dict[str, Any]:
    return {**inputs, name: (inputs["input_ids"] == IMAGE_ID).long()}


@family("paligemma")
def paligemma(layers: int = 4) -> Tiny:
    """Gemma 2 inside: soft-capped logits; the whole prompt attends to itself in both directions."""
    config = PaliGemmaConfig(
        text_config={
            "model_type": "gemma2",
            **_gemma_text(layers, final_logit_softcapping=CAP),
        },
        vision_config=_siglip(),
        image_token_index=IMAGE_ID,
        projection_dim=32,
        hidden_size=32,
    )
    inputs = as_inputs(
        [*[IMAGE_ID] * 16, 1, 5, 6, 7],
        pixel_values=torch.randn(1, 3, 16, 16),
        token_type_ids=torch.zeros(1, 20, dtype=torch.long),
    )
    return Tiny(PaliGemmaForConditionalGeneration(config), inputs, layers)


@family("gemma3")
def gemma3(layers: int = 4) -> Tiny:
    """A soft-cap in the config that the model does not apply; sliding and full attention."""
    config = Gemma3Config(**_gemma3(layers))
    return Tiny(Gemma3ForConditionalGeneration(config), _gemma3_inputs(), layers)


@family("shieldgemma2")
def shieldgemma2(layers: int = 4) -> Tiny:
    config = ShieldGemma2Config(**_gemma3(layers))
    return Tiny(Gemma3ForConditionalGeneration(config), _gemma3_inputs(), layers)


def _gemma3(layers: int) -> dict[str, Any]:
    return {
        "text_config": {
            "model_type": "gemma3_text",
            **_gemma_text(layers, final_logit_softcapping=CAP),
        },
        "vision_config": _siglip(),
        "mm_tokens_per_image": 4,
        **MARKS,
    }


def _gemma3_inputs() -> dict[str, Any]:
    return _typed(_prompt(4, pixel_values=torch.randn(1, 3, 16, 16)))


@family("gemma3n_text")
def gemma3n_text(layers: int = 4) -> Tiny:
    """A 4-D stream that plain code folds before the final norm: only a replay can read it."""
    config = Gemma3nTextConfig(
        **_gemma3n(layers, layer_types=["full_attention"] * layers, num_kv_shared_layers=0)
    )
    return Tiny(Gemma3nForCausalLM(config), text_inputs(), layers)


def _gemma3n(layers: int, **changes: Any) -> dict[str, Any]:
    return text_config(
        layers,
        head_dim=8,
        hidden_size_per_layer_input=8,
        vocab_size_per_layer_input=VOCABULARY,
        altup_num_inputs=4,
        laurel_rank=4,
        activation_sparsity_pattern=[0.0] * layers,
        **changes,
    )


@family("gemma3n")
def gemma3n(layers: int = 4) -> Tiny:
    """The same 4-D stream, two kinds of attention, keys of two layers shared, soft-capped logits;
    SigLIP stands in for the tower, which needs timm."""
    config = Gemma3nConfig(
        text_config=_gemma3n(
            layers,
            layer_types=_kinds(layers),
            sliding_window=4,
            num_kv_shared_layers=2,
            final_logit_softcapping=CAP,
            initializer_range=0.1,
        ),
        audio_config={
            "vocab_size": 2,
            "vocab_offset": 97,
            "hidden_size": 16,
            "input_feat_size": 8,
            "conf_num_attention_heads": 2,
            "conf_num_hidden_layers": 1,
            "sscp_conv_channel_size": [4, 4],
        },
        vision_soft_tokens_per_image=4,
        image_token_id=IMAGE_ID,
        boi_token_id=92,
        eoi_token_id=93,
        audio_token_id=98,
    )
    tower = SiglipVisionConfig(**_siglip(2), vocab_size=7, vocab_offset=IMAGE_ID, rms_norm_eps=1e-6)
    object.__setattr__(config, "vision_config", tower)  # the setter takes no other class
    inputs = _prompt(4, pixel_values=torch.randn(1, 3, 8, 8))
    return Tiny(Gemma3nForConditionalGeneration(config), inputs, layers)


def _gemma4_text(layers: int, **changes: Any) -> dict[str, Any]:
    """Soft-capped logits, two kinds of attention with heads of two widths."""
    return _gemma_text(
        layers,
        global_head_dim=16,
        num_global_key_value_heads=1,
        final_logit_softcapping=CAP,
        use_bidirectional_attention="vision",
        **changes,
    )


def _gemma4_tower() -> dict[str, Any]:
    return {
        "model_type": "gemma4_vision",
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "pooling_kernel_size": 2,
        "patch_size": 4,
        "position_embedding_size": 16,
        "initializer_range": 0.1,
    }


def _patches(side: int, width: int) -> dict[str, Any]:
    """Flat patches of a square picture, and where they were."""
    places = [[column, row] for row in range(side) for column in range(side)]
    return {
        "pixel_values": torch.rand(1, side**2, width),
        "image_position_ids": torch.tensor([places]),
    }


@family("gemma4")
def gemma4(layers: int = 4) -> Tiny:
    """Experts beside the MLP, embeddings for every layer, keys of two layers shared, a scale of
    every layer's output, soft-capped logits."""
    config = Gemma4Config(
        text_config=_gemma4_text(
            layers,
            vocab_size_per_layer_input=VOCABULARY,
            hidden_size_per_layer_input=8,
            num_kv_shared_layers=2,
            attention_k_eq_v=True,
            enable_moe_block=True,
            num_experts=4,
            top_k_experts=2,
            moe_intermediate_size=16,
        ),
        vision_config=_gemma4_tower(),
        image_token_id=IMAGE_ID,
        video_token_id=94,
        audio_token_id=95,
    )
    inputs = _typed(_prompt(4, **_patches(4, 48)), "mm_token_type_ids")
    return Tiny(Gemma4ForConditionalGeneration(config), inputs, layers)


@family("gemma4_unified")
def gemma4_unified(layers: int = 4) -> Tiny:
    """No vision tower: patches go straight into the stream; soft-capped logits."""
    config = Gemma4UnifiedConfig(
        text_config=_gemma4_text(layers, num_kv_shared_layers=2, attention_k_eq_v=True),
        vision_config={
            "patch_size": 2,
            "pooling_kernel_size": 2,
            "mm_embed_dim": 16,
            "mm_posemb_size": 16,
            "output_proj_dims": 16,
        },
        image_token_id=IMAGE_ID,
        video_token_id=94,
        audio_token_id=95,
    )
    inputs = _typed(_prompt(4, **_patches(2, 48)), "mm_token_type_ids")
    return Tiny(Gemma4UnifiedForConditionalGeneration(config), inputs, layers)


@family("diffusion_gemma")
def diffusion_gemma(layers: int = 4) -> Tiny:
    """The logits are of a canvas, not of the prompt, whose keys alone the decoder sees; the
    encoder's layers share its weights; experts, soft-capped logits."""
    config = DiffusionGemmaConfig(
        text_config=_gemma4_text(layers, num_experts=4, top_k_experts=2, moe_intermediate_size=16),
        vision_config=_gemma4_tower(),
        image_token_id=IMAGE_ID,
        canvas_length=5,
    )
    inputs = _typed(_prompt(4, **_patches(4, 48)), "mm_token_type_ids")
    inputs["decoder_input_ids"] = torch.tensor([[11, 12, 13, 14, 15]])
    return Tiny(DiffusionGemmaForBlockDiffusion(config), inputs, layers)


@family("t5gemma2")
def t5gemma2(layers: int = 4) -> Tiny:
    """An encoder sees the picture, the decoder its output; soft-capped logits."""
    config = T5Gemma2Config(
        encoder={
            "text_config": _gemma_text(2),
            "vision_config": _siglip(),
            "mm_tokens_per_image": 4,
            **MARKS,
        },
        decoder=_gemma_text(layers, final_logit_softcapping=CAP),
        image_token_index=IMAGE_ID,
    )
    inputs = _prompt(
        4,
        pixel_values=torch.randn(1, 3, 16, 16),
        decoder_input_ids=torch.tensor([[1, 11, 12, 13]]),
    )
    return Tiny(T5Gemma2ForConditionalGeneration(config), inputs, layers)


@family("pi0")
def pi0(layers: int = 4) -> Tiny:
    """Its logits are actions of a robot: there is nothing to read."""
    config = PI0Config(
        vlm_config={
            "model_type": "paligemma",
            "text_config": {"model_type": "gemma", **text_config(layers, head_dim=8)},
            "vision_config": _siglip(),
            "image_token_index": IMAGE_ID,
            "projection_dim": 32,
            "hidden_size": 32,
        },
        dit_config={"model_type": "gemma", **text_config(layers, head_dim=8)},
        chunk_size=5,
        max_state_dim=8,
        max_action_dim=8,
    )
    inputs = as_inputs(
        [*[IMAGE_ID] * 16, 1, 5, 6, 7],
        pixel_values=torch.randn(1, 1, 3, 16, 16),
        pixel_attention_mask=torch.ones(1, 1, dtype=torch.bool),
        state=torch.randn(1, 8),
        noise=torch.randn(1, 5, 8),
        timestep=torch.tensor([0.5]),
    )
    return Tiny(PI0ForConditionalGeneration(config), inputs, layers)
