"""Vision-language models whose decoder is a mixture of experts."""

from __future__ import annotations

from typing import Any

import torch
from transformers import (
    AriaConfig,
    AriaForConditionalGeneration,
    DeepseekOcr2Config,
    DeepseekOcr2ForConditionalGeneration,
    Dots3NoteConfig,
    Dots3NoteForConditionalGeneration,
    Kimi_K25Config,
    Kimi_K25ForConditionalGeneration,
    MiniMaxM3SparseForConditionalGeneration,
    MiniMaxM3VLConfig,
    Mistral4Config,
    Mistral4ForCausalLM,
    MistralLarge4Config,
    MistralLarge4ForConditionalGeneration,
    NemotronH_Omni_Reasoning_V3,
    NemotronH_Omni_Reasoning_V3_Config,
    Step3p7Config,
    Step3p7ForConditionalGeneration,
    UnlimitedOcrConfig,
    UnlimitedOcrForConditionalGeneration,
)

from tests.families.parts import (
    IMAGE_ID,
    Tiny,
    as_inputs,
    family,
    text_config,
    text_inputs,
    vision_config,
)
from tests.families.qwen import PATCH, grid_inputs, vivid

EXPERTS = {"n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
ADAPTED = ("model.vision_tower", "model.multi_modal_projector")
LATENT = {
    "num_key_value_heads": 4,
    "q_lora_rank": 16,
    "kv_lora_rank": 16,
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 8,
    "v_head_dim": 8,
}
"""Settings of attention over a compressed cache."""


def _dense_first(layers: int) -> list[str]:
    return ["sparse" if layer else "dense" for layer in range(layers)]


@family("aria")
def aria(layers: int = 4) -> Tiny:
    """A mixture of experts in every layer."""
    config = AriaConfig(
        vision_config={"model_type": "idefics3_vision", **vision_config(3)},
        text_config=text_config(
            layers, intermediate_size=16, moe_num_experts=4, moe_topk=2, moe_num_shared_experts=1
        ),
        projector_patch_to_query_dict={9: 4},
        image_token_index=IMAGE_ID,
    )
    inputs = as_inputs([1, *[IMAGE_ID] * 4, 5, 6, 7], pixel_values=torch.randn(1, 3, 12, 12))
    model = vivid(AriaForConditionalGeneration(config), *ADAPTED)
    return Tiny(model, inputs, layers)


def _sam(**changes: Any) -> dict[str, Any]:
    """Settings of a small SAM tower over 4 x 4 patches, shrunk to a single one."""
    return {
        "hidden_size": 16,
        "output_channels": 8,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 16,
        "patch_size": PATCH,
        "window_size": 2,
        "global_attn_indexes": [1],
        "downsample_channels": [8, 16],
        "mlp_dim": 32,
        "initializer_range": 0.2,
        **changes,
    }


@family("deepseek_ocr2")
def deepseek_ocr2(layers: int = 4) -> Tiny:
    """A picture is always 144 queries and a separator; a mixture of experts but for one layer."""
    config = DeepseekOcr2Config(
        vision_config={
            "sam_config": _sam(),
            "encoder_config": {
                "hidden_size": 16,
                "intermediate_size": 32,
                "num_hidden_layers": 2,
                "num_attention_heads": 2,
                "num_key_value_heads": 2,
                "initializer_range": 0.2,
            },
        },
        text_config=text_config(
            layers, n_shared_experts=1, mlp_layer_types=_dense_first(layers), **EXPERTS
        ),
        image_token_id=IMAGE_ID,
    )
    inputs = as_inputs([1, *[IMAGE_ID] * 145, 5, 6, 7], pixel_values=torch.randn(1, 3, 16, 16))
    return Tiny(DeepseekOcr2ForConditionalGeneration(config), inputs, layers)


@family("unlimited_ocr")
def unlimited_ocr(layers: int = 4) -> Tiny:
    """Attention that slides but for a reference; a mixture of experts but for one layer."""
    config = UnlimitedOcrConfig(
        vision_config={
            "sam_config": _sam(image_size=32),
            "encoder_config": {
                "hidden_size": 16,
                "intermediate_size": 32,
                "num_hidden_layers": 2,
                "num_attention_heads": 2,
                "image_size": 8,
                "patch_size": PATCH,
                "initializer_range": 0.2,
            },
        },
        text_config=text_config(
            layers,
            n_shared_experts=1,
            sliding_window=4,
            layer_types=[
                "full_attention" if layer % 2 else "reference_sliding_attention"
                for layer in range(layers)
            ],
            mlp_layer_types=_dense_first(layers),
            **EXPERTS,
        ),
        image_token_id=IMAGE_ID,
    )
    inputs = as_inputs([1, *[IMAGE_ID] * 7, 5, 6, 7], pixel_values=torch.randn(1, 3, 32, 32))
    return Tiny(UnlimitedOcrForConditionalGeneration(config), inputs, layers)


@family("dots3_note")
def dots3_note(layers: int = 4) -> Tiny:
    """Indexed and sliding latent attention in turn, and a mixture of experts but for one layer."""
    heads = {"num_attention_heads": 4, "head_dim": 16, **LATENT}
    config = Dots3NoteConfig(
        text_config=text_config(
            layers,
            **heads,
            **{f"swa_{name}": size for name, size in heads.items()},
            layer_types=[
                "sliding_attention" if layer % 2 else "indexed_attention" for layer in range(layers)
            ],
            sliding_window=4,
            index_topk=4,
            index_head_dim=16,
            index_n_heads=2,
            n_shared_experts=1,
            shared_experts_intermediate_size=16,
            **EXPERTS,
        ),
        vision_config={
            "hidden_size": 16,
            "intermediate_size": 32,
            "moe_intermediate_size": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "patch_size": PATCH,
            "adapter_in_dim": 16,
            "adapter_out_dim": 32,
            "pyramid_num_routed": [-1, 2],
            "initializer_range": 0.2,
        },
        audio_config={
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "feature_size": 8,
            "hop_length": 4,
            "downsample_hidden_size": 4,
            "adapter_input_size": 16,
            "adapter_out_dim": 32,
        },
        image_token_id=IMAGE_ID,
        video_token_id=91,
        audio_token_id=94,
    )
    inputs = grid_inputs(frames=1, typed=False)
    return Tiny(Dots3NoteForConditionalGeneration(config), inputs, layers)


@family("kimi_k25")
def kimi_k25(layers: int = 4) -> Tiny:
    """Latent attention, and a mixture of groups of experts but for one layer."""
    config = Kimi_K25Config(
        text_config={
            "model_type": "deepseek_v3",
            **text_config(layers, **LATENT, **EXPERTS),
            "n_shared_experts": 1,
            "n_group": 2,
            "topk_group": 1,
            "first_k_dense_replace": 1,
        },
        vision_config={
            "hidden_size": 16,
            "intermediate_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "patch_size": PATCH,
            "pos_emb_height": 4,
            "pos_emb_width": 4,
        },
        projection_hidden_size=16,
        image_token_id=IMAGE_ID,
        video_token_id=91,
        vision_start_token_id=92,
        vision_end_token_id=93,
        tie_word_embeddings=False,
    )
    inputs = grid_inputs(frames=1, typed=False)
    inputs["pixel_values"] = inputs["pixel_values"].unflatten(1, (3, PATCH, PATCH))
    model = Kimi_K25ForConditionalGeneration(config)
    vivid(model, "model.vision_tower", "model.mm_projector")
    return Tiny(model, inputs, layers)


@family("minimax_m3_vl")
def minimax_m3_vl(layers: int = 4) -> Tiny:
    """Full and block-sparse attention in turn, and a mixture of experts but for one layer."""
    config = MiniMaxM3VLConfig(
        text_config=text_config(
            layers,
            head_dim=16,
            rotary_dim=8,
            num_local_experts=4,
            num_experts_per_tok=2,
            dense_intermediate_size=64,
            shared_intermediate_size=16,
            intermediate_size=16,
            mlp_layer_types=_dense_first(layers),
            layer_types=[
                "minimax_m3_sparse" if layer % 2 else "full_attention" for layer in range(layers)
            ],
            index_n_heads=2,
            index_head_dim=16,
            index_block_size=2,
            index_topk_blocks=2,
        ),
        vision_config=vision_config(4),
        image_token_index=IMAGE_ID,
        video_token_index=91,
        projector_hidden_size=32,
    )
    model = vivid(MiniMaxM3SparseForConditionalGeneration(config), *ADAPTED)
    return Tiny(model, grid_inputs(typed=False), layers)


@family("mistral4")
def mistral4(layers: int = 4) -> Tiny:
    """Text only: latent attention, and a mixture of experts but for one layer."""
    config = Mistral4Config(
        **text_config(layers, **LATENT, **EXPERTS),
        n_shared_experts=1,
        first_k_dense_replace=1,
        rope_parameters={
            "rope_type": "yarn",
            "rope_theta": 10000.0,
            "factor": 2.0,
            "original_max_position_embeddings": 256,
            "llama_4_scaling_beta": 0.1,
        },
    )
    return Tiny(Mistral4ForCausalLM(config), text_inputs(), layers)


@family("mistral_large4")
def mistral_large4(layers: int = 6) -> Tiny:
    """Layers return what they attend to as well, for later ones to share, and share keys and
    values; a mixture of experts but for one layer; soft-capped logits."""
    latent = {name: size for name, size in LATENT.items() if name != "q_lora_rank"}
    config = MistralLarge4Config(
        text_config=text_config(
            layers,
            **latent,
            **EXPERTS,
            n_shared_experts=1,
            index_topk=4,
            index_head_dim=16,
            index_n_heads=8,  # of few, many scores are 0, and which of these are taken is chance
            indexer_types=["shared" if layer % 3 else "full" for layer in range(layers)],
            kv_source_layers=[layer - layer % 2 for layer in range(layers)],
            no_rope_layers=[int(layer % 4 < 2) for layer in range(layers)],
            final_logit_softcapping=3.0,
            initializer_range=0.2,
        ),
        vision_config={"model_type": "pixtral", **vision_config(8)},
        image_token_index=IMAGE_ID,
    )
    inputs = as_inputs(
        [1, *[IMAGE_ID] * 6, 5, 6, 7],
        pixel_values=torch.randn(1, 3, 4 * PATCH, 6 * PATCH),
        image_sizes=torch.tensor([[4 * PATCH, 6 * PATCH]]),
    )
    return Tiny(MistralLarge4ForConditionalGeneration(config), inputs, layers)


@family("nemotron_h_omni")
def nemotron_h_omni(layers: int = 6) -> Tiny:
    """Every layer is one of four kinds: state space, experts, attention, or MLP. The model tells
    of no output head, for it is inside a model of its own."""
    kinds = ["linear_attention", "moe", "full_attention", "mlp"]
    text = text_config(layers, head_dim=8, **EXPERTS)
    del text["num_hidden_layers"]
    config = NemotronH_Omni_Reasoning_V3_Config(
        text_config={
            "model_type": "nemotron_h",
            **text,
            "layers_block_type": [kinds[layer % 4] for layer in range(layers)],
            "moe_shared_expert_intermediate_size": 16,
            "ssm_state_size": 8,
            "mamba_num_heads": 4,
            "mamba_head_dim": 8,
            "n_groups": 2,
            "chunk_size": 4,
        },
        vision_config={
            "model_type": "radio",
            "hidden_size": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "mlp_ratio": 2.0,
            "patch_size": PATCH,
            "image_size": 4 * PATCH,
            "max_img_size": 8 * PATCH,
            "video_temporal_patch_size": 2,
        },
        vision_hidden_size=16,
        projector_hidden_size=32,
        image_token_id=IMAGE_ID,
        video_token_id=91,
    )
    inputs = as_inputs(
        [1, *[IMAGE_ID] * 6, 5, 6, 7],
        pixel_values=torch.randn(24, 3 * PATCH**2),
        image_grid_hw=torch.tensor([[4, 6]]),
    )
    model = vivid(NemotronH_Omni_Reasoning_V3(config), "vision_model", "multi_modal_projector")
    return Tiny(model, inputs, layers)


@family("step3p7")
def step3p7(layers: int = 4) -> Tiny:
    """Full and sliding attention with other numbers of heads in turn; a mixture of experts but
    for one layer."""
    config = Step3p7Config(
        text_config=text_config(
            layers,
            head_dim=8,
            num_sliding_attention_heads=8,
            sliding_window=4,
            layer_types=[
                "sliding_attention" if layer % 2 else "full_attention" for layer in range(layers)
            ],
            mlp_layer_types=_dense_first(layers),
            share_expert_dim=16,
            **EXPERTS,
        ),
        vision_config={**vision_config(8), "mlp_ratio": 2.0},
        image_token_id=IMAGE_ID,
    )
    inputs = as_inputs(
        [1, *[IMAGE_ID] * 4, 5, 6, 7], pixel_values=torch.randn(1, 3, 8 * PATCH, 8 * PATCH)
    )
    return Tiny(Step3p7ForConditionalGeneration(config), inputs, layers)
