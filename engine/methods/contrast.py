"""Contrast rows: what a picture adds to a model's answer, as VDD has it (arXiv 2403.05262)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from engine.counterfactuals.defaults import CONTRAST_A, CONTRAST_B
from engine.errors import BadInput


def check_settings(a: float, b: float) -> None:
    """Raise BadInput where a contrast cannot have these settings."""
    if not (math.isfinite(a) and a >= 0):
        raise BadInput(f"the contrast's a is a number from 0 up, not {a:g}")
    if not 0 <= b <= 1:
        raise BadInput(f"the contrast's b is a share from 0 to 1, not {b:g}")


def contrast(
    picture: Tensor, reference: Tensor, a: float = CONTRAST_A, b: float = CONTRAST_B
) -> Tensor:
    """Logits (1 + a) picture - a reference, float32 [..., vocabulary]; softmax gives the row.

    Tokens that the picture's row holds less likely than b times its best are removed: -inf. With
    a = 0 those left are ranked as in the picture's row; with b = 1 its best is left, and what
    ties with it. A token that the reference never offers counts as the least likely that it does.

    Raises BadInput for settings that it cannot have.
    """
    check_settings(a, b)
    picture, reference = picture.float(), reference.float().to(picture.device)
    least = picture.amax(-1, keepdim=True) + (math.log(b) if b else -math.inf)
    removed = (picture < least) | (picture == -math.inf)
    never = reference == -math.inf
    lowest = reference.masked_fill(never, math.inf).amin(-1, keepdim=True)
    logits = (1 + a) * picture - a * torch.where(never, lowest, reference)
    return logits.masked_fill(removed, -math.inf)


def mean_reference(*references: Tensor) -> Tensor:
    """The reference of several counterfactuals together ("both": none and unk): mean logits."""
    return torch.stack([each.float().to(references[0].device) for each in references]).mean(0)
