"""An attention's output taken apart by heads: the output projection is a matrix, and every head has
columns of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from engine.anatomy.columns import is_one_matrix
from engine.anatomy.logit_map import errors_and_limits
from engine.passes.attention_taps import OutputProjection, Tap


@dataclass(frozen=True)
class HeadOutputs:
    """What the heads of one layer put into the output projection at the position."""

    entered: Tensor
    """float32 [heads, value width]: what enters the projection."""
    factor: Tensor
    """float32 [heads, value width]: by what the heads' outputs are multiplied before it; ones
    where they enter it as they are."""
    gated: bool
    """Whether something multiplies them (a gate); it is taken as it is at this position."""
    columns: Tensor
    """float32 [width, heads, value width]"""
    bias: Tensor
    """float32 [width] or []: what the projection adds."""

    def by_head(self) -> Tensor:
        """What arrives from each head: float32 [heads, width], without the bias."""
        columns = self.columns.permute(1, 2, 0)  # [heads, value width, width]
        return torch.bmm(self.entered.unsqueeze(1), columns).squeeze(1)

    def sent(self, head: int, weights: Tensor, value: Tensor) -> Tensor:
        """What arrives from each key through one head: float32 [keys, width].

        `weights` are float32 [heads, keys], `value` [key/value heads, keys, value width].
        """
        own = value[head * len(value) // len(weights)].float() * self.factor[head]
        return weights[head].unsqueeze(-1) * (own @ self.columns[:, head].T)


def head_outputs(tap: Tap, item: int) -> HeadOutputs | None:
    """Those of one item of a batch; None if there are no heads, or their projection was not
    seen. To be called in eval mode and without gradients, by whoever holds the
    model's lock."""
    row, projection = tap.row, tap.projection
    if row is None or projection is None:
        return None
    output = row.output[item]  # [heads, value width]
    entered = projection.entered[item].float().reshape(len(output), -1)
    both = entered.flatten().unsqueeze(0), output.flatten().unsqueeze(0)
    error, limit = errors_and_limits(projection.entered.dtype, *both)
    # Where something multiplies the heads' outputs on their way, it is taken as it is here.
    gated = bool(error > limit)
    factor = torch.where(output == 0, 0.0, entered / output) if gated else torch.ones_like(output)
    matrix, bias = _matrix_and_bias(projection, entered.numel(), output.device)
    columns = matrix.reshape(len(matrix), len(output), -1)
    return HeadOutputs(entered, factor, gated, columns, bias)


def _matrix_and_bias(
    projection: OutputProjection, width: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """The projection as a matrix [out, width] and what it adds [out], float32: by what it does
    where it is not plainly a matrix, but quantised, offloaded, or with an adapter."""
    module: nn.Module = projection.module
    if is_one_matrix(module):
        plain: Any = module
        added = torch.zeros((), device=device) if plain.bias is None else plain.bias.float()
        return plain.weight.float(), added
    floats = [p.dtype for p in module.parameters() if p.is_floating_point()]
    probes = torch.eye(width, dtype=floats[0] if floats else torch.float32, device=device)
    bias = module(torch.zeros_like(probes[:1]))[0].float()
    return (module(probes).float() - bias).T, bias
