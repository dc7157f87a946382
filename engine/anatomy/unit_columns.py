"""A linear map's columns: what each of its inputs adds to its output.

Where a module is not plainly a matrix, but quantised, offloaded, transposed or with an adapter, its
columns are known by what it does to unit vectors, a part of them at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn

from engine.anatomy.columns import is_one_matrix

_AT_ONCE: Final = 512


@dataclass(frozen=True)
class UnitColumns:
    """f(a) = the sum of a_i * column_i, + bias."""

    count: int
    """How many inputs there are."""
    bias: Tensor
    """[width] or []."""
    exact: bool
    """Whether they were read from a matrix, not from what a module does."""
    take: Callable[[slice], Tensor]
    """Some columns, [some, width], in the dtype and on the device of the weights."""

    def blocks(self) -> Iterator[tuple[slice, Tensor]]:
        """All columns, some at a time. To be taken in eval mode, without gradients."""
        for start in range(0, self.count, _AT_ONCE):
            some = slice(start, min(start + _AT_ONCE, self.count))
            yield some, self.take(some)

    def whole(self) -> Tensor:
        """All columns, [count, width]."""
        return self.take(slice(0, self.count))


def columns_of(module: nn.Module, like: Tensor) -> UnitColumns:
    """Those of a module that is linear; `like` is an input of it, [count].

    To be called in eval mode and without gradients, by whoever holds the model's lock.
    """
    if is_one_matrix(module):
        assert isinstance(module, nn.Linear)
        weight, bias = module.weight, module.bias
        added = torch.zeros((), device=weight.device) if bias is None else bias
        return UnitColumns(len(like), added, True, lambda some: weight[:, some].T)
    nothing: Tensor = module(torch.zeros_like(like[None]))[0]

    def done(some: slice) -> Tensor:
        units = torch.zeros(some.stop - some.start, len(like), dtype=like.dtype, device=like.device)
        units[:, some] = torch.eye(len(units), dtype=like.dtype, device=like.device)
        made: Tensor = module(units)
        return made - nothing

    return UnitColumns(len(like), nothing, False, done)


def columns_in(matrix: Tensor, bias: Tensor) -> UnitColumns:
    """Those of a matrix [count, width]."""
    return UnitColumns(len(matrix), bias, True, lambda some: matrix[some])


def precise(value: Tensor) -> Tensor:
    """A tensor in float64 where its device has that, or else in float32."""
    return value.float() if value.device.type == "mps" else value.double()
