"""What the mask of an attention call allows, whatever its format."""

from __future__ import annotations

import torch
from torch import Tensor

from engine.anatomy.attention_calls import AttentionCall

_MASKED = -1e4
"""Additive masks are below where they forbid: they hold minus infinity, a dtype's smallest number,
or one such as -1e9. Position biases are far above."""


def allowed(mask: Tensor) -> Tensor:
    """Which pairs a boolean or additive mask allows: bool, of its shape."""
    return mask if mask.dtype == torch.bool else mask > _MASKED


def is_causal(call: AttentionCall) -> bool:
    """Whether the kernel itself keeps a query from the keys after it, where the call has no mask;
    as transformers' kernels decide it. Eager functions never do."""
    if call.query.shape[-2] == 1 or call.kernel is call.eager:
        return False
    said = call.kwargs.get("is_causal")
    return bool(getattr(call.module, "is_causal", True) if said is None else said)
