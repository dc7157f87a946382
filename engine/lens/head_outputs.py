"""An attention's output taken apart by heads: the output projection is a matrix, and every head has
columns of its own."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from engine.anatomy.logit_map import errors_and_limits
from engine.anatomy.unit_columns import columns_of
from engine.passes.attention_taps import Tap


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
    made = columns_of(projection.module, projection.entered[item].flatten())
    matrix = made.whole().T.float()  # [width, heads * value width]
    columns = matrix.reshape(len(matrix), len(output), -1)
    return HeadOutputs(entered, factor, gated, columns, made.bias.float())
