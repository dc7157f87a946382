"""Tiny models of real transformers classes with random weights, for tests.

Every norm weight and every zero-born projection gets noise: with fresh weights of 1 a norm that is
applied twice is invisible.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from transformers import (
    CLIPVisionConfig,
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3nForCausalLM,
    Gemma3nTextConfig,
    LlamaConfig,
    LlamaForCausalLM,
    LlavaConfig,
    LlavaForConditionalGeneration,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
)

IMAGE_ID = 90
VOCABULARY = 99


@dataclass(frozen=True)
class Tiny:
    """A model, inputs of a batch of one that it takes, and its number of decoder layers."""

    model: Any
    inputs: dict[str, Any]
    layers: int


def with_noise(model: Any, seed: int = 0) -> Any:
    """The model in eval mode with noise on all 1-D and all constant parameters."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim <= 1 or bool((parameter == parameter.flatten()[0]).all()):
                noise = torch.randn(parameter.shape, generator=generator) * 0.3
                parameter += noise.to(parameter)
    return model.eval()


def text_config(layers: int = 5, hidden: int = 32) -> dict[str, Any]:
    """Settings of a small Llama-like decoder."""
    return {
        "vocab_size": VOCABULARY,
        "hidden_size": hidden,
        "intermediate_size": 2 * hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
    }


def llama(layers: int = 5, seed: int = 0) -> Tiny:
    torch.manual_seed(seed)
    model = LlamaForCausalLM(LlamaConfig(**text_config(layers)))
    return Tiny(with_noise(model), text_inputs(), layers)


def gemma2(layers: int = 4, seed: int = 0) -> Tiny:
    """Soft-capped logits."""
    torch.manual_seed(seed)
    config = Gemma2Config(
        **text_config(layers), head_dim=8, final_logit_softcapping=3.0, query_pre_attn_scalar=8
    )
    return Tiny(with_noise(Gemma2ForCausalLM(config)), text_inputs(), layers)


def gemma3n(layers: int = 4, seed: int = 0) -> Tiny:
    """A 4-D stream that plain code folds ahead of the final norm: only a replay can read it."""
    torch.manual_seed(seed)
    config = Gemma3nTextConfig(
        **text_config(layers),
        head_dim=8,
        hidden_size_per_layer_input=8,
        vocab_size_per_layer_input=VOCABULARY,
        altup_num_inputs=4,
        laurel_rank=4,
        num_kv_shared_layers=0,
        layer_types=["full_attention"] * layers,
        activation_sparsity_pattern=[0.0] * layers,
    )
    return Tiny(with_noise(Gemma3nForCausalLM(config)), text_inputs(), layers)


def llava(layers: int = 6, hidden: int = 32, patches: int = 3, seed: int = 0) -> Tiny:
    torch.manual_seed(seed)
    vision = CLIPVisionConfig(
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=4 * patches,
        patch_size=4,
    )
    config = LlavaConfig(
        vision_config=vision,
        text_config=LlamaConfig(**text_config(layers, hidden)),
        image_token_index=IMAGE_ID,
        vision_feature_layer=-1,
        image_seq_length=patches**2,
    )
    model = with_noise(LlavaForConditionalGeneration(config))
    ids = [1, *[IMAGE_ID] * patches**2, 5, 6, 7, 8]
    inputs = {
        "input_ids": torch.tensor([ids]),
        "attention_mask": torch.ones(1, len(ids), dtype=torch.long),
        "pixel_values": torch.randn(1, 3, 4 * patches, 4 * patches),
    }
    return Tiny(model, inputs, layers)


def qwen2_vl(layers: int = 6, hidden: int = 32, seed: int = 0) -> Tiny:
    torch.manual_seed(seed)
    config = Qwen2VLConfig(
        text_config={
            **text_config(layers, hidden),
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 10000.0,
                "mrope_section": [1, 1, 2],
            },
        },
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
    model = with_noise(Qwen2VLForConditionalGeneration(config))
    grid = torch.tensor([[1, 4, 6]])
    count = 4 * 6 // 4
    ids = [1, 92, *[IMAGE_ID] * count, 93, 5, 6, 7]
    types = [0, 0, *[1] * count, 0, 0, 0, 0]
    inputs = {
        "input_ids": torch.tensor([ids]),
        "attention_mask": torch.ones(1, len(ids), dtype=torch.long),
        "pixel_values": torch.randn(24, 3 * 2 * 4 * 4),
        "image_grid_thw": grid,
        "mm_token_type_ids": torch.tensor([types]),
    }
    return Tiny(model, inputs, layers)


def text_inputs(length: int = 7) -> dict[str, Any]:
    ids = torch.tensor([[1, *range(5, 4 + length)]])
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


BUILDERS: dict[str, Callable[..., Tiny]] = {
    "llama": llama,
    "gemma2": gemma2,
    "llava": llava,
    "qwen2_vl": qwen2_vl,
}
