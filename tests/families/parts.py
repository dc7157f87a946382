"""What the tiny models share: settings of small parts, noise on the weights, and the registry.

A family is a function that builds one small model of real transformers classes with random
weights, and inputs for it (with a picture where the model takes one). It is registered under the
family's `model_type`; the registry seeds it and puts noise on every norm weight and zero-born
projection, for with fresh weights of 1 a norm that is applied twice is invisible.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any

import torch

VOCABULARY = 99
IMAGE_ID = 90
"""The id of image tokens, in the families that have them."""


@dataclass(frozen=True)
class Tiny:
    """A model, inputs of a batch of one that it takes, and its number of decoder layers."""

    model: Any
    inputs: dict[str, Any]
    layers: int


Builder = Callable[..., Tiny]

FAMILIES: dict[str, Builder] = {}
"""Every registered builder by its family's name; filled by importing `tests.families`."""


def family(name: str) -> Callable[[Callable[..., Tiny]], Builder]:
    """Register a builder: seeded (`seed=0`), with noise, in eval mode."""

    def register(build: Callable[..., Tiny]) -> Builder:
        @wraps(build)
        def built(*args: Any, seed: int = 0, **settings: Any) -> Tiny:
            torch.manual_seed(seed)
            tiny = build(*args, **settings)
            with_noise(tiny.model, seed)
            return tiny

        assert name not in FAMILIES, name
        FAMILIES[name] = built
        return built

    return register


def with_noise(model: Any, seed: int = 0) -> Any:
    """The model in eval mode with noise on all 1-D and all constant parameters."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim <= 1 or bool((parameter == parameter.flatten()[0]).all()):
                noise = torch.randn(parameter.shape, generator=generator) * 0.3
                parameter += noise.to(parameter)
    return model.eval()


def text_config(layers: int = 5, hidden: int = 32, **changes: Any) -> dict[str, Any]:
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
        **changes,
    }


def vision_config(patches: int = 3, **changes: Any) -> dict[str, Any]:
    """Settings of a small CLIP- or SigLIP-like vision tower over patches x patches of 4 pixels."""
    return {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 4 * patches,
        "patch_size": 4,
        **changes,
    }


def text_inputs(length: int = 7) -> dict[str, Any]:
    """A prompt of words only."""
    return as_inputs([1, *range(5, 4 + length)])


def as_inputs(ids: list[int], **others: Any) -> dict[str, Any]:
    """These ids, all attended to, and the model's other inputs."""
    return {
        "input_ids": torch.tensor([ids]),
        "attention_mask": torch.ones(1, len(ids), dtype=torch.long),
        **others,
    }
