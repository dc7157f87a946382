"""Attention of any kernel: against the model's own eager attention, family by family."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from engine.lens.attention import NONE_HERE, AttentionFound
from engine.lens.lens import Lens
from engine.system.steps import finished
from tests.families import FAMILIES, Tiny

QUICK = ("llava", "gemma3", "florence2", "mllama", "blip", "qwen3_5")
"""A plain decoder, soft-cap and sliding windows, an encoder-decoder, cross-attention on vision
states, own softmax, layers without attention."""
NOT_READ = {"pi0": "it has no vocabulary"}
PROOF_ALONE = {"unlimited_ocr": "its eager function does not repeat key/value heads, and fails"}
"""Families whose eager attention cannot serve as the oracle, and why."""
NOT_RETURNED = {"idefics": "states"}
"""Families whose output lacks some attention."""

ALL = [
    pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow])
    for name in sorted({*FAMILIES} - {*NOT_READ})
]


def read(tiny: Tiny, position: int = -1, **options: Any) -> AttentionFound:
    return finished(Lens(tiny.model).read_attention(tiny.inputs, position, **options))


def attentions_in(output: Any, length: int) -> Iterator[Tensor]:
    """The attention weights in a model's output, [heads, length, keys], but for encoders'."""
    items = output.items() if hasattr(output, "items") else []
    for name, value in items:
        if "attentions" in name and not name.startswith(("encoder", "vision", "image", "audio")):
            for layer in value if isinstance(value, (tuple, list)) else ():
                if isinstance(layer, Tensor) and layer.ndim == 4 and layer.shape[2] == length:
                    yield layer[0]
        elif "language" in name or "text" in name or "decoder" in name:
            yield from attentions_in(value, length)


@contextmanager
def weights_before_dropout(tiny: Tiny, length: int) -> Iterator[list[Tensor]]:
    """Notes what the dropout of attention gets, in a model that returns no attention."""
    noted: list[Tensor] = []

    def note(module: nn.Module, args: tuple[Any, ...]) -> None:
        if args[0].ndim == 4 and args[0].shape[2] == length:
            noted.append(args[0][0])

    dropouts = [each for each in tiny.model.modules() if isinstance(each, nn.Dropout)]
    handles = [each.register_forward_pre_hook(note) for each in dropouts]
    yield noted
    for handle in handles:
        handle.remove()


def theirs(tiny: Tiny, length: int) -> list[Tensor]:
    """The weights of every attention of the eager model, [heads, length, keys]."""
    tiny.model.set_attn_implementation("eager")
    with torch.no_grad(), weights_before_dropout(tiny, length) as noted:
        output = tiny.model(**tiny.inputs, output_attentions=True)
    found = [*attentions_in(output, length)]
    own = [each for each in found if each.shape[2] == length]
    others = [each for each in found if each.shape[2] != length]
    if own and len(own) == len(others):
        # A model that looks at its tokens and at an encoder's states at once returns them apart.
        found += [torch.cat(both, dim=-1) for both in zip(own, others, strict=True)]
    return found or noted


@pytest.mark.parametrize("name", ALL)
def test_every_weight_is_that_of_the_eager_model(name: str) -> None:
    tiny = FAMILIES[name]()
    found = read(tiny)
    have = [each for each in found.layers if each.weights is not None]
    assert have
    assert {each.reason for each in found.layers if each.weights is None} <= {NONE_HERE}
    for each in have:
        assert each.weights is not None and each.sink is not None
        assert each.proof is not None and each.proof.passed
        total = each.weights.sum(-1) + each.sink
        assert torch.allclose(total, torch.ones_like(total), atol=1e-4)
    if name in PROOF_ALONE:
        return
    eager = [each[:, found.position] for each in theirs(tiny, found.position + 1)]
    for each in have:
        weights = each.weights
        assert weights is not None
        apart = [
            (float((weights - other).abs().max()), other)
            for other in eager
            if other.shape == weights.shape
        ]
        if not apart:
            assert NOT_RETURNED.get(name) == each.keys
            continue
        # Taken out once it has been found: no weights may stand for two layers.
        distance, nearest = min(apart, key=lambda pair: pair[0])
        assert distance < 2e-5
        eager = [other for other in eager if other is not nearest]
