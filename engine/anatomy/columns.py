"""The logits of many cells, a part of the vocabulary at a time.

A grid has thousands of cells; the logits of all of them over a whole vocabulary would take
gigabytes. Where the head is one matrix, its columns can be computed piece by piece, and one word
needs one column of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from engine.anatomy.hooks import is_hooked
from engine.anatomy.logit_map import LogitMap

LEAST = torch.finfo(torch.float32).min
"""Stands for minus infinity, so that a product with a probability of 0 is 0."""


class Columns(Protocol):
    """The logits of n cells, finite or NaN."""

    @property
    def vocabulary(self) -> int:
        """How many logits a cell has."""

    @property
    def device(self) -> torch.device:
        """Where they are computed."""

    def part(self, start: int, stop: int) -> Tensor:
        """The logits of the ids `start` to `stop` - 1: float32 [n, stop - start]."""

    def of(self, ids: Tensor) -> Tensor:
        """The logits of these ids, int64 [m]: float32 [n, m]."""


@dataclass(frozen=True)
class HeadColumns:
    """`Columns` that are computed from the head's matrix when they are asked for."""

    hidden: Tensor
    """The head's input, [n, width]."""
    head: nn.Linear
    logit_map: LogitMap

    @property
    def vocabulary(self) -> int:
        """See `Columns.vocabulary`."""
        return self.logit_map.width

    @property
    def device(self) -> torch.device:
        """See `Columns.device`."""
        return self.hidden.device

    def part(self, start: int, stop: int) -> Tensor:
        """See `Columns.part`."""
        return self._logits(slice(start, stop))

    def of(self, ids: Tensor) -> Tensor:
        """See `Columns.of`."""
        return self._logits(ids.to(self.hidden.device))

    def some(self, cells: slice) -> HeadColumns:
        """Those of some of the cells."""
        return replace(self, hidden=self.hidden[cells])

    @classmethod
    def joined(cls, pieces: Sequence[HeadColumns]) -> HeadColumns:
        """The cells of all pieces, one after the other."""
        if len(pieces) == 1:
            return pieces[0]
        return replace(pieces[0], hidden=torch.cat([piece.hidden for piece in pieces]))

    def _logits(self, places: slice | Tensor) -> Tensor:
        bias = self.head.bias
        raw = linear(self.hidden, self.head.weight[places], None if bias is None else bias[places])
        logits = self.logit_map.of(raw, places)
        finite = self.logit_map.masked is None and raw.dtype != torch.float16
        return logits if finite else logits.clamp_min(LEAST)


@dataclass(frozen=True)
class WholeColumns:
    """`Columns` of logits that are there already, [n, vocabulary] in any dtype."""

    logits: Tensor

    @property
    def vocabulary(self) -> int:
        """See `Columns.vocabulary`."""
        return int(self.logits.shape[-1])

    @property
    def device(self) -> torch.device:
        """See `Columns.device`."""
        return self.logits.device

    def part(self, start: int, stop: int) -> Tensor:
        """See `Columns.part`."""
        return self.logits[:, start:stop].float().clamp_min(LEAST)

    def of(self, ids: Tensor) -> Tensor:
        """See `Columns.of`."""
        return self.logits[:, ids.to(self.logits.device)].float().clamp_min(LEAST)


def is_one_matrix(head: nn.Module) -> bool:
    """Whether a head is a matrix and nothing else, so that its columns can be taken one by one:
    not quantised, not parametrised, not offloaded, and without hooks of others."""
    return (
        type(head) is nn.Linear
        and not is_hooked(head)
        and head.weight.device.type != "meta"
        and head.weight.is_floating_point()
    )
