"""How much of a head's attention lies on each group of tokens, with sinks and without."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Shares(NamedTuple):
    """The attention of heads [..., heads] on groups of keys; float32."""

    raw: Tensor
    """[..., heads, groups + 1]: the last is the weight that lies on no key."""
    on_sinks: Tensor
    """[..., heads, groups]: how much of it lies on sinks."""
    without_sinks: Tensor
    """[..., heads, groups]: the same without sinks, scaled to sum to 1; NaN for a head that looks
    at sinks alone."""


def shares_of(
    weights: Tensor, nowhere: Tensor, groups: Tensor, is_sink: Tensor, count: int
) -> Shares:
    """The shares of `weights` [..., heads, keys] and `nowhere` [..., heads], which lies on no key.

    `groups` [..., keys] has the group of each key, 0 to `count` - 1, and `is_sink` (bool) those
    with massive activations.
    """
    sinks = is_sink.unsqueeze(-2)
    on_sinks = _summed(weights.where(sinks, 0.0), groups, count)
    kept = _summed(weights.where(~sinks, 0.0), groups, count)
    return Shares(
        raw=torch.cat([kept + on_sinks, nowhere.unsqueeze(-1)], -1),
        on_sinks=on_sinks,
        without_sinks=kept / kept.sum(-1, keepdim=True),
    )


def _summed(weights: Tensor, groups: Tensor, count: int) -> Tensor:
    """[..., heads, groups]. Not a product of matrices, which may be rounded on a GPU."""
    of = groups.unsqueeze(-2)
    return torch.stack([weights.where(of == group, 0.0).sum(-1) for group in range(count)], -1)
