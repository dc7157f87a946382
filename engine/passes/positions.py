"""Resolves positions, which count along the sequence axis of the model's logits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

Positions = Sequence[int] | Tensor


def attention_of(inputs: Mapping[str, Any]) -> Tensor | None:
    """The attention mask of the sequence that the logits are of: bool [batch, length] on the CPU,
    or None if the inputs have no such mask."""
    key = "decoder_attention_mask" if "decoder_input_ids" in inputs else "attention_mask"
    mask = inputs.get(key)
    return mask.bool().cpu() if isinstance(mask, Tensor) and mask.ndim == 2 else None


def resolve(positions: Positions, attention: Tensor | None, batch: int, length: int) -> Tensor:
    """Absolute positions, int64 [batch, n] on the CPU, in sequences of `length` positions.

    `positions` is a list, used for every item, or an int tensor [batch, n]. Negative positions
    count back from each item's last attended token, so that -1 is the same token under left and
    right padding. Raises IndexError for a position out of range, ValueError for another shape.
    """
    wanted = torch.as_tensor(positions, dtype=torch.int64, device="cpu")
    if wanted.ndim == 1:
        wanted = wanted.expand(batch, -1)
    if wanted.ndim != 2 or wanted.shape[0] != batch:
        raise ValueError(
            f"positions must be a list, or an int tensor [{batch}, n]; got {list(wanted.shape)}"
        )
    first = torch.zeros(batch, 1, dtype=torch.int64)
    last = torch.full((batch, 1), length - 1)
    if attention is not None and attention.shape[1] <= length:
        # Some models put picture features in front of the tokens that the mask covers.
        uncovered = length - attention.shape[1]
        places = torch.arange(attention.shape[1])
        attended = torch.where(attention, places, -1)
        last = attended.max(dim=1, keepdim=True).values + uncovered
        unseen = torch.where(attention, places, attention.shape[1])
        first = unseen.min(dim=1, keepdim=True).values
        first = torch.where(first == 0, 0, first + uncovered)
    absolute = torch.where(wanted < 0, last + 1 + wanted, wanted)
    outside = (absolute >= length) | (absolute < torch.where(wanted < 0, first, 0))
    if bool(outside.any()):
        worst = int(wanted[outside][0])
        raise IndexError(f"position {worst} is outside a sequence of {length} positions")
    return absolute
