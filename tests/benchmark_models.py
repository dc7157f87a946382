"""Architectures of published models in their real sizes, with random weights, and their inputs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

import samples
from engine import load
from engine.prompts.preparing import prepare
from engine.records import Question

PICTURE_SIDE = 448
PATCH, MERGE = 14, 2
IMAGE_ID, START_ID, END_ID = 151655, 151652, 151653
POSITIONS = 512


def bundled(device: torch.device) -> tuple[Any, dict[str, Any]]:
    """The model that comes with the project, and a question about its default picture."""
    from engine.pictures.opening import open_picture

    loaded = load(samples.MODEL, device=str(device))
    picture = open_picture(samples.DEFAULT_PICTURE)
    question = Question(prompt="Color of the main object:", picture=picture.record)
    return loaded.model, prepare(loaded.model, loaded.processor, question, picture.image).inputs


def smollm2_135m() -> tuple[Any, dict[str, Tensor]]:
    """The architecture of HuggingFaceTB/SmolLM2-135M with random weights, and a prompt for it."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=30,
        num_attention_heads=9,
        num_key_value_heads=3,
        vocab_size=49152,
        tie_word_embeddings=True,
    )
    torch.manual_seed(0)
    model = LlamaForCausalLM(config).eval()
    ids = torch.randint(100, 49000, (1, POSITIONS))
    return model, {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def llava_7b(device: torch.device) -> tuple[Any, dict[str, Tensor]]:
    """The architecture of llava-hf/llava-1.5-7b-hf with random weights, and inputs for it."""
    from transformers import LlavaConfig, LlavaForConditionalGeneration

    config = LlavaConfig(
        text_config={"model_type": "llama", "vocab_size": 32064},
        vision_config={
            "model_type": "clip_vision_model",
            "hidden_size": 1024,
            "intermediate_size": 4096,
            "num_hidden_layers": 24,
            "num_attention_heads": 16,
            "image_size": 336,
            "patch_size": 14,
            "projection_dim": 768,
        },
        image_token_id=32000,
    )
    torch.manual_seed(0)
    with torch.device(device):
        model = LlavaForConditionalGeneration._from_config(config, dtype=torch.bfloat16)
    ids = [1, 3148, 1001, 29901, *[32000] * 576, *range(200, 215)]
    pixels = torch.randn(1, 3, 336, 336, device=device, dtype=torch.bfloat16)
    tensor = torch.tensor([ids], device=device)
    return model.eval(), {
        "input_ids": tensor,
        "attention_mask": torch.ones_like(tensor),
        "pixel_values": pixels,
    }


def qwen2_vl_2b(dtype: torch.dtype, device: torch.device) -> tuple[Any, dict[str, Any]]:
    """The architecture of Qwen/Qwen2-VL-2B-Instruct with random weights, and inputs for it."""
    from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration

    config = Qwen2VLConfig(
        text_config={
            "vocab_size": 151936,
            "hidden_size": 1536,
            "intermediate_size": 8960,
            "num_hidden_layers": 28,
            "num_attention_heads": 12,
            "num_key_value_heads": 2,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 1e6,
                "mrope_section": [16, 24, 24],
            },
        },
        vision_config={
            "depth": 32,
            "embed_dim": 1280,
            "hidden_size": 1536,
            "num_heads": 16,
            "mlp_ratio": 4,
            "patch_size": PATCH,
            "spatial_merge_size": MERGE,
            "temporal_patch_size": 2,
        },
        image_token_id=IMAGE_ID,
        vision_start_token_id=START_ID,
        vision_end_token_id=END_ID,
        tie_word_embeddings=True,
    )
    with torch.device("meta"):
        model = Qwen2VLForConditionalGeneration._from_config(config, dtype=dtype)
    model = model.to_empty(device=device)
    generator = torch.Generator(device).manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0.0, 0.02, generator=generator)
        for name, module in model.named_modules():
            if "norm" in name and getattr(module, "weight", None) is not None:
                module.weight.fill_(1.0).add_(
                    torch.randn(module.weight.shape, device=device, generator=generator), alpha=0.1
                )
    restore_buffers(model, config, device)
    side = PICTURE_SIDE // PATCH
    images = (side // MERGE) ** 2
    ids = [*range(100, 115), START_ID, *[IMAGE_ID] * images, END_ID, *range(200, 215)]
    types = [int(token == IMAGE_ID) for token in ids]
    inputs = {
        "input_ids": torch.tensor([ids], device=device),
        "attention_mask": torch.ones(1, len(ids), dtype=torch.long, device=device),
        "pixel_values": torch.randn(
            side * side, 3 * 2 * PATCH * PATCH, device=device, generator=generator
        ).to(dtype),
        "image_grid_thw": torch.tensor([[1, side, side]], device=device),
        "mm_token_type_ids": torch.tensor([types], device=device),
    }
    return model.eval(), inputs


def restore_buffers(model: Any, config: Any, device: torch.device) -> None:
    """Rotary frequencies are buffers: on the meta device they were never computed."""
    from transformers import Qwen2VLForConditionalGeneration

    small = type(config)(**config.to_dict())
    small.text_config.num_hidden_layers = 1
    small.text_config.vocab_size = 8
    small.vision_config.depth = 1
    for settings in (small.text_config,):
        settings.pad_token_id = None
    truth = dict(Qwen2VLForConditionalGeneration(small).named_buffers())
    for name, buffer in model.named_buffers():
        buffer.data.copy_(truth[name].to(device))
