"""Newer vision-language models of many makers."""

from __future__ import annotations

from typing import Any

import torch
from transformers import (
    Exaone4_5_Config,
    Exaone4_5_ForConditionalGeneration,
    HunYuanVLConfig,
    HunYuanVLForConditionalGeneration,
    HyperCLOVAXVisionV2Config,
    HyperCLOVAXVisionV2ForConditionalGeneration,
    Lfm2VlConfig,
    Lfm2VlForConditionalGeneration,
    Lfm3VlConfig,
    Lfm3VlForConditionalGeneration,
    MiniCPMOcrConfig,
    MiniCPMOcrForConditionalGeneration,
    MiniCPMV4_6Config,
    MiniCPMV4_6ForConditionalGeneration,
    MiniCPMV4_7Config,
    MiniCPMV4_7ForConditionalGeneration,
    Molmo2Config,
    Molmo2ForConditionalGeneration,
    MuseGlimmerConfig,
    MuseGlimmerForConditionalGeneration,
    MuseSparkConfig,
    MuseSparkForConditionalGeneration,
)

from tests.families.parts import (
    IMAGE_ID,
    VOCABULARY,
    Tiny,
    as_inputs,
    family,
    text_config,
    vision_config,
)
from tests.families.qwen import PATCH, grid_inputs, tower, vivid

ADAPTED = ("model.vision_tower", "model.multi_modal_projector")


@family("exaone4_5")
def exaone4_5(layers: int = 4) -> Tiny:
    """Norms after attention and MLP; some layers see a sliding window."""
    config = Exaone4_5_Config(
        text_config={
            "model_type": "exaone4",
            **text_config(layers, sliding_window=4, sliding_window_pattern=2),
        },
        vision_config=tower(window_size=16, fullatt_block_indexes=[1], num_key_value_heads=1),
        image_token_id=IMAGE_ID,
        video_token_id=91,
    )
    return Tiny(Exaone4_5_ForConditionalGeneration(config), grid_inputs(typed=False), layers)


@family("hunyuan_vl")
def hunyuan_vl(layers: int = 4) -> Tiny:
    """Begin, newline and end of a picture are image tokens too; tied embeddings."""
    rows, columns = 4, 6
    count = rows // 2 * (columns // 2 + 1) + 2
    config = HunYuanVLConfig(
        text_config=text_config(
            layers,
            head_dim=8,
            rope_parameters={
                "rope_type": "dynamic",
                "rope_theta": 10000.0,
                "alpha": 1000.0,
                "factor": 1.0,
                "mrope_section": [1, 1, 1, 1],
            },
        ),
        vision_config={
            "hidden_size": 16,
            "intermediate_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "patch_size": PATCH,
            "max_image_size": 4 * PATCH,
            "out_hidden_size": 32,
        },
        image_token_id=IMAGE_ID,
        im_start_id=92,
        im_end_id=93,
        im_newline_id=94,
    )
    inputs = as_inputs(
        [1, 92, *[IMAGE_ID] * count, 93, 5, 6, 7],
        pixel_values=torch.randn(rows * columns, 3 * PATCH**2),
        image_grid_thw=torch.tensor([[1, rows, columns]]),
    )
    inputs["mm_token_type_ids"] = (inputs["input_ids"] == IMAGE_ID).long()
    model = vivid(HunYuanVLForConditionalGeneration(config), "model.vision_tower")
    return Tiny(model, inputs, layers)


@family("hyperclovax_vision_v2")
def hyperclovax_vision_v2(layers: int = 4) -> Tiny:
    """Logits are multiplied by a scale; embeddings and residuals have multipliers too."""
    config = HyperCLOVAXVisionV2Config(
        text_config={
            "model_type": "hyperclovax",
            **text_config(
                layers,
                logits_scaling=0.125,
                embedding_multiplier=4.0,
                residual_multiplier=0.5,
            ),
        },
        vision_config={
            "model_type": "qwen2_5_vl_vision",
            **tower(window_size=16, fullatt_block_indexes=[1]),
        },
        image_token_id=IMAGE_ID,
        video_token_id=91,
    )
    model = vivid(HyperCLOVAXVisionV2ForConditionalGeneration(config), "lm_head")
    return Tiny(model, grid_inputs(typed=False), layers)


@family("lfm2_vl")
def lfm2_vl(layers: int = 4) -> Tiny:
    """Short convolutions and attention in turn; tied embeddings."""
    config = Lfm2VlConfig(
        text_config={
            "model_type": "lfm2",
            **text_config(
                layers,
                layer_types=["full_attention" if layer % 2 else "conv" for layer in range(layers)],
            ),
        },
        vision_config={
            "model_type": "siglip2_vision_model",
            "hidden_size": 16,
            "intermediate_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "patch_size": PATCH,
            "num_patches": 16,
        },
        projector_hidden_size=32,
        image_token_id=IMAGE_ID,
    )
    inputs = as_inputs(
        [1, *[IMAGE_ID] * 6, 5, 6, 7],
        pixel_values=torch.randn(1, 24, 3 * PATCH**2),
        spatial_shapes=torch.tensor([[4, 6]]),
        pixel_attention_mask=torch.ones(1, 24, dtype=torch.long),
    )
    model = vivid(Lfm2VlForConditionalGeneration(config), *ADAPTED)
    return Tiny(model, inputs, layers)


@family("lfm3_vl")
def lfm3_vl(layers: int = 6) -> Tiny:
    """Short convolutions, sliding and full attention in turn; tied embeddings."""
    kinds = ["conv", "sliding_attention", "full_attention"]
    config = Lfm3VlConfig(
        text_config={
            "model_type": "lfm3",
            **text_config(
                layers,
                head_dim=8,
                sliding_window=4,
                layer_types=[kinds[layer % 3] for layer in range(layers)],
            ),
        },
        vision_config={
            "hidden_size": 16,
            "intermediate_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "patch_size": PATCH,
            "layer_types": ["conv", "full_attention"],
        },
        projector_hidden_size=32,
        image_token_id=IMAGE_ID,
        video_token_id=91,
        vision_start_token_id=92,
        vision_end_token_id=93,
    )
    model = vivid(Lfm3VlForConditionalGeneration(config), *ADAPTED)
    return Tiny(model, grid_inputs(typed=False), layers)


def _minicpm(layers: int) -> dict[str, Any]:
    """A decoder of linear and full attention in turn, and a tower that merges four patches."""
    return {
        "text_config": {
            "model_type": "qwen3_5_text",
            **text_config(
                layers,
                head_dim=8,
                linear_conv_kernel_dim=2,
                linear_key_head_dim=8,
                linear_value_head_dim=8,
                linear_num_key_heads=2,
                linear_num_value_heads=4,
                layer_types=[
                    "full_attention" if layer % 2 else "linear_attention" for layer in range(layers)
                ],
                rope_parameters={
                    "rope_type": "default",
                    "rope_theta": 10000.0,
                    "mrope_section": [2, 1, 1],
                    "mrope_interleaved": True,
                },
            ),
        },
        "vision_config": vision_config(8),
        "insert_layer_id": 0,
        "image_token_id": IMAGE_ID,
        "video_token_id": 91,
    }


def _strip_inputs(count: int) -> dict[str, Any]:
    """A picture as a strip of 8 x 12 patches, between its start and end, and words."""
    return as_inputs(
        [1, 92, *[IMAGE_ID] * count, 93, 5, 6, 7],
        pixel_values=torch.randn(1, 3, PATCH, 8 * 12 * PATCH),
        target_sizes=torch.tensor([[8, 12]], dtype=torch.int32),
    )


@family("minicpm_ocr")
def minicpm_ocr(layers: int = 4) -> Tiny:
    """Linear and full attention in turn; tied embeddings."""
    model = MiniCPMOcrForConditionalGeneration(MiniCPMOcrConfig(**_minicpm(layers)))
    vivid(model, "model.vision_tower", "model.merger")
    return Tiny(model, _strip_inputs(24), layers)


@family("minicpmv4_6")
def minicpmv4_6(layers: int = 4) -> Tiny:
    """Linear and full attention in turn."""
    model = MiniCPMV4_6ForConditionalGeneration(MiniCPMV4_6Config(**_minicpm(layers)))
    vivid(model, "model.vision_tower", "model.merger")
    return Tiny(model, _strip_inputs(6), layers)


@family("minicpmv4_7")
def minicpmv4_7(layers: int = 4) -> Tiny:
    """Linear and full attention in turn; positions of pictures in three axes."""
    config = MiniCPMV4_7Config(
        **_minicpm(layers),
        image_start_id=92,
        image_end_id=93,
        slice_start_id=94,
        slice_end_id=95,
        newline_id=96,
    )
    inputs = _strip_inputs(6)
    inputs["mm_token_type_ids"] = (inputs["input_ids"] == IMAGE_ID).long()
    model = MiniCPMV4_7ForConditionalGeneration(config)
    vivid(model, "model.vision_tower", "model.merger")
    return Tiny(model, inputs, layers)


@family("molmo2")
def molmo2(layers: int = 4) -> Tiny:
    """Image tokens are not in the head's vocabulary and attend to each other both ways."""
    image_id = VOCABULARY + 2
    tower_heads = {"num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 8}
    config = Molmo2Config(
        text_config=text_config(
            layers, head_dim=8, additional_vocab_size=8, rope_scaling_layers=[1, 3]
        ),
        vision_config={
            **vision_config(4),
            **tower_heads,
            "image_size": [4 * PATCH, 4 * PATCH],
            "initializer_range": 0.2,
        },
        adapter_config={
            **tower_heads,
            "hidden_size": 16,
            "intermediate_size": 32,
            "text_hidden_size": 32,
            "vision_feature_layer": [1, 0],
            "initializer_range": 0.2,
        },
        image_start_token_id=VOCABULARY,
        image_end_token_id=VOCABULARY + 1,
        image_patch_id=image_id,
        low_res_image_start_token_id=VOCABULARY + 3,
        frame_start_token_id=VOCABULARY + 4,
        frame_end_token_id=VOCABULARY + 5,
    )
    patches = torch.arange(16).view(2, 2, 2, 2)
    inputs = as_inputs(
        [1, VOCABULARY, *[image_id] * 4, VOCABULARY + 1, 5, 6, 7],
        pixel_values=torch.randn(1, 16, 3 * PATCH**2),
        image_token_pooling=patches.transpose(1, 2).reshape(4, 4),
        image_grids=torch.tensor([[2, 2, 0, 0]]),
        image_num_crops=torch.tensor([1]),
    )
    inputs["mm_token_type_ids"] = (inputs["input_ids"] == image_id).long()
    return Tiny(Molmo2ForConditionalGeneration(config), inputs, layers)


def _muse(layers: int, **changes: Any) -> dict[str, Any]:
    """Sliding attention, and full without positions, in turn; logits scaled, then soft-capped."""
    return {
        "text_config": text_config(
            layers,
            head_dim=8,
            sliding_window=4,
            layer_types=[
                "full_attention" if layer % 2 else "sliding_attention" for layer in range(layers)
            ],
            layer_rope_theta=[0 if layer % 2 else 10000.0 for layer in range(layers)],
            rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
            initializer_range=0.2,
            final_logit_softcapping=0.5,
            output_multiplier=0.2,
            **changes,
        ),
        "vision_config": {
            "hidden_size": 16,
            "intermediate_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "patch_size": PATCH,
            "pos_emb_height": 4,
            "pos_emb_width": 4,
            "layer_types": ["window_attention", "full_attention"],
        },
        "image_token_id": IMAGE_ID,
        "video_token_id": 91,
        "out_hidden_size": 64,
        "projector_hidden_size": 32,
    }


@family("muse_glimmer")
def muse_glimmer(layers: int = 4) -> Tiny:
    """Logits are scaled, then soft-capped; full attention has no positions."""
    config = MuseGlimmerConfig(**_muse(layers))
    inputs = grid_inputs(typed=False)
    return Tiny(MuseGlimmerForConditionalGeneration(config), inputs, layers)


@family("muse_spark")
def muse_spark(layers: int = 4) -> Tiny:
    """Logits are scaled, then soft-capped; gated residuals; a mixture of experts but for one
    layer; full attention has no positions."""
    config = MuseSparkConfig(
        **_muse(
            layers,
            mlp_layer_types=["sparse" if layer else "dense" for layer in range(layers)],
            num_local_experts=4,
            num_experts_per_tok=2,
            moe_intermediate_size=16,
            moe_hidden_size=16,
        ),
        audio_config={
            "patch_sizes": [4],
            "hidden_sizes": [8],
            "depths": [1],
            "num_hidden_layers": 1,
            "conv_kernel_size": 3,
            "out_hidden_size": 32,
        },
        audio_token_id=94,
    )
    inputs = grid_inputs(typed=False)
    return Tiny(MuseSparkForConditionalGeneration(config), inputs, layers)
