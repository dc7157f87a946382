"""Architectures of published models in their real sizes, with random weights, and their inputs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

import samples
from engine import load
from engine.prompts.preparing import prepare
from engine.records import Question
from tests.study_models import llava_config, qwen_config, random_model

PICTURE_SIDE = 448
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
    from transformers import LlavaForConditionalGeneration

    config, dtype = llava_config(full_size=True), torch.bfloat16
    model = random_model(LlavaForConditionalGeneration, config, dtype, str(device))
    side = config.vision_config.image_size
    images = (side // config.vision_config.patch_size) ** 2
    ids = [1, 3148, 1001, 29901, *[config.image_token_id] * images, *range(200, 215)]
    tensor = torch.tensor([ids], device=device)
    return model, {
        "input_ids": tensor,
        "attention_mask": torch.ones_like(tensor),
        "pixel_values": torch.randn(1, 3, side, side, device=device, dtype=dtype),
    }


def qwen2_vl_2b(dtype: torch.dtype, device: torch.device) -> tuple[Any, dict[str, Tensor]]:
    """The architecture of Qwen/Qwen2-VL-2B-Instruct with random weights, and inputs for it."""
    from transformers import Qwen2VLForConditionalGeneration

    config = qwen_config(full_size=True)
    model = random_model(Qwen2VLForConditionalGeneration, config, dtype, str(device))
    vision = config.vision_config
    side = PICTURE_SIDE // vision.patch_size
    image, images = config.image_token_id, (side // vision.spatial_merge_size) ** 2
    start, end = config.vision_start_token_id, config.vision_end_token_id
    ids = [*range(100, 115), start, *[image] * images, end, *range(200, 215)]
    tensor = torch.tensor([ids], device=device)
    values = vision.in_channels * vision.temporal_patch_size * vision.patch_size**2  # of a patch
    return model, {
        "input_ids": tensor,
        "attention_mask": torch.ones_like(tensor),
        "pixel_values": torch.randn(side * side, values, device=device, dtype=dtype),
        "image_grid_thw": torch.tensor([[1, side, side]], device=device),
        "mm_token_type_ids": (tensor == image).long(),
    }
