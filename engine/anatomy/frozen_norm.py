"""A norm with the statistics that it has at one vector: a linear map, so that it can be taken of
each part of that vector.

The kind of a norm is found by what it does to permutations of the vector, which have the same
statistics, not by its name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

import torch
from torch import Tensor, nn

from engine.anatomy.hooks import first_float_tensor
from engine.system.memory import is_out_of_memory

Norm = Callable[[Tensor], Tensor]
"""f(vectors [n, width], in the model's dtype) -> the same normed, [n, width]"""

_PERMUTATIONS: Final = 28
_HELD_OUT: Final = 4
_CLOSE: Final = 1e-3


@dataclass(frozen=True)
class FrozenNorm:
    """norm(h) = map(h) + bias, where the map is linear."""

    kind: Literal["rms", "layer", "none"]
    """"rms": every channel is multiplied by its gain (so does a module that is affine channel by
    channel); "layer": the mean over the channels is subtracted before; "none": nothing is done."""
    gain: Tensor
    """float64 [width], on the CPU."""
    bias: Tensor
    """float64 [width]: what the norm makes of a vector of zeros."""

    def __call__(self, parts: Tensor) -> Tensor:
        """The map of each part, float64 [n, width] -> [n, width]."""
        if self.kind == "layer":
            parts = parts - parts.mean(-1, keepdim=True)
        return parts * self.gain

    def transposed(self, direction: Tensor) -> Tensor:
        """The direction [width] whose product with any part is that of `direction` with the part's
        map."""
        direction = direction * self.gain
        return direction - direction.mean() if self.kind == "layer" else direction


def freeze(norm: Norm, at: Tensor) -> FrozenNorm | None:
    """The norm frozen at a vector [width]; None if it is of neither kind.

    Calls `norm` once, with permutations of the vector.
    """
    generator = torch.Generator().manual_seed(0)
    width = len(at)
    orders = torch.stack([torch.randperm(width, generator=generator) for _ in range(_PERMUTATIONS)])
    vectors = torch.cat([torch.zeros_like(at)[None], at[None], at[orders.to(at.device)]])
    normed = norm(vectors)
    if normed.shape != vectors.shape or not bool(normed.isfinite().all()):
        return None
    inputs, outputs = (each.cpu().double() for each in (vectors, normed))
    bias, inputs, outputs = outputs[0], inputs[1:], outputs[1:] - outputs[0]
    limit = max(_CLOSE, 2.0 * torch.finfo(at.dtype).eps)
    found: list[tuple[float, FrozenNorm]] = []
    kinds: tuple[Literal["rms", "layer"], ...] = ("rms", "layer")
    for kind in kinds:
        seen = inputs - inputs.mean(-1, keepdim=True) if kind == "layer" else inputs
        fit, ours = seen[:-_HELD_OUT], outputs[:-_HELD_OUT]
        power = fit.square().sum(0)
        gain = torch.where(power > 0, (fit * ours).sum(0) / power, 0.0)
        held, theirs = seen[-_HELD_OUT:], outputs[-_HELD_OUT:]
        size = float(theirs.norm())
        off = float((held * gain - theirs).norm()) / size if size else 0.0
        found.append((off, FrozenNorm(kind, gain, bias)))
    off, best = min(found, key=lambda pair: pair[0])
    if normed.equal(vectors):
        off, best = 0.0, FrozenNorm("none", torch.ones_like(bias), bias)
    return best if off <= limit else None


def freeze_module(module: nn.Module, entered: Tensor) -> FrozenNorm | None:
    """A module frozen at what entered it, [*rest]; None if it is no norm of a vector alone.

    To be called in eval mode and without gradients, by whoever holds the model's lock.
    """

    def norm(vectors: Tensor) -> Tensor:
        made = first_float_tensor(module(vectors.unsqueeze(0)))
        return vectors.new_zeros(0) if made is None else made.reshape(len(vectors), -1)

    try:
        return freeze(norm, entered.flatten())
    except (RuntimeError, TypeError, ValueError, IndexError, AttributeError) as error:
        if is_out_of_memory(error):
            raise
        return None  # it needs more than a vector
