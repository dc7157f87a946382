"""What the saved folders share: the registry, and small tokenizers.

A folder is a checkpoint as people have it on disk: config, safetensors, tokenizer, processor and
chat template, all small and with random weights. It is registered under the model type of the
model inside.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from tests.families.parts import with_noise

Save = Callable[[Path], None]

FOLDERS: dict[str, Save] = {}
"""Every registered function that fills an empty folder; filled by importing `tests.folders`."""


def folder(name: str) -> Callable[[Save], Save]:
    """Register a function that saves a model with its processor into an empty folder."""

    def register(save: Save) -> Save:
        assert name not in FOLDERS, name
        FOLDERS[name] = save
        return save

    return register


def save_model(model_class: Any, config: Any, path: Path) -> None:
    """Save a model of this config with seeded random weights and noise on its norms."""
    torch.manual_seed(0)
    with_noise(model_class(config)).save_pretrained(path)
