"""Massive activations: tokens that hold attention, not content."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

SINK: Final = 20.0
"""A channel this many times the rms of its stream is a massive activation."""


def middle_rows(layers: int) -> range:
    """The rows in which massive activations are looked for: the middle half of rows 0..layers."""
    return range(layers // 4, 3 * layers // 4 + 1)


def massive(stream: Tensor, first: int = 0) -> Tensor:
    """Which positions of a residual stream [positions, *rest] have massive activations: bool
    [positions], on the stream's device.

    max |x_d| >= SINK rms(x) over the channels d in which the token at `first` exceeds SINK rms
    (Kang et al. 2025, arXiv 2503.03321).
    """
    values = stream.flatten(1).float().abs()  # [positions, channels]
    limits = SINK * values.pow(2).mean(-1).sqrt()
    channels = (values[first] >= limits[first]) & (values[first] > 0)
    largest = values.masked_fill(~channels, -1.0).amax(-1)
    return (largest >= limits) & (largest > 0)


def places(found: Tensor) -> tuple[int, ...]:
    """The indices that are true in a bool tensor [positions]."""
    return tuple(int(place) for place in torch.nonzero(found.cpu()).flatten())
