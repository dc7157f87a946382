"""The best tokens of many cells, and the ranks of some, with no more than one look at each logit.

The best tokens are found from the maxima of short blocks of ids, and ranks by comparing every block
with one threshold, so that nothing sorts a vocabulary or compares it twice. Ties go to the lower id
everywhere. Nothing here waits for a device.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

SHORTEST, LONGEST = 32, 256
"""Ids in a block. A processor takes maxima of shorter ones more slowly; of longer ones too many
candidates are left."""
COUNTED_FROM = 2**14
"""On a CPU, NumPy counts what is true in a row of so many logits faster; of fewer, its calls take
longer than they save."""
COMPARED_AT_ONCE = 2**27
"""Comparisons of a logit with a token's, made at once on an accelerator: 128 MB."""


class Blocks(NamedTuple):
    """Logits of n cells, divided into blocks of consecutive ids; the last one may be shorter."""

    logits: Tensor
    """[n, vocabulary]"""
    size: int
    whole: Tensor
    """[n, blocks, size]: a view of all blocks but a shorter one."""
    rest: Tensor
    """[n, ids]: a view of the shorter one; without ids if there is none."""

    @classmethod
    def of(cls, logits: Tensor, top: int = 1) -> Blocks:
        """Divide them so that blocks and the ids of the best ones are about as many."""
        vocabulary = logits.shape[1]
        size = 2 ** round(math.log2(max(1.0, vocabulary / max(1, top))) / 2)
        size = min(max(size, SHORTEST), LONGEST)
        end = vocabulary // size * size
        return cls(logits, size, logits[:, :end].unflatten(1, (-1, size)), logits[:, end:])

    def best(self, top: int) -> Tensor:
        """Ids of the `top` largest logits, the best first: int64 [n, top].

        A token among the best is in one of as many blocks whose maxima are the best, if ties go to
        the lower block. The ids of a cell that holds a NaN are arbitrary.
        """
        vocabulary = self.logits.shape[1]
        maxima = [self.whole.amax(-1)] if self.whole.shape[1] else []
        if self.rest.shape[1]:
            maxima.append(self.rest.amax(-1, keepdim=True))
        blocks = _places_of_best(torch.cat(maxima, 1), top).sort(-1).values  # [n, top or all]
        within = torch.arange(self.size, device=blocks.device)
        candidates = (blocks.unsqueeze(-1) * self.size + within).flatten(1)  # ascending
        logits = self.logits.gather(1, candidates.clamp_max(vocabulary - 1))
        logits = logits.masked_fill(candidates >= vocabulary, -torch.inf)
        places = _places_of_best(logits, min(top, vocabulary))
        return candidates.gather(1, places).clamp_max(vocabulary - 1)

    def ranks(self, ids: Tensor) -> Tensor:
        """Ranks of tokens, each cell's own: int64 [n, t] -> int64 [n, t]; 1 is the best."""
        logits = self.logits.gather(1, ids)  # [n, t]
        if self.logits.device.type == "cpu" and self.logits.shape[1] >= COUNTED_FROM:
            return _counted_ranks(self.logits, ids, logits)
        size = max(1, COMPARED_AT_ONCE // max(1, ids.shape[1] * self.logits.shape[1]))
        if size >= len(ids):
            return self._compared_ranks(ids, logits)
        pieces = zip(self.logits.split(size), ids.split(size), logits.split(size), strict=True)
        return torch.cat([Blocks.of(some)._compared_ranks(*both) for some, *both in pieces])

    def _compared_ranks(self, ids: Tensor, logits: Tensor) -> Tensor:
        """As `ranks`: in the blocks before the token's own, all that are not below its logit rank
        higher, in the blocks after it those that are above."""
        vocabulary, device = self.logits.shape[1], ids.device
        own = ids // self.size  # [n, t]
        # No logit lies below minus infinity: none is at most NaN.
        below = torch.nextafter(logits, torch.full_like(logits, -torch.inf))
        below = torch.where(logits == -torch.inf, math.nan, below)
        earlier = torch.arange(self.whole.shape[1], device=device) < own.unsqueeze(-1)
        limits = torch.where(earlier, below.unsqueeze(-1), logits.unsqueeze(-1))  # [n, t, blocks]
        lower = (self.whole.unsqueeze(1) <= limits.unsqueeze(-1)).sum((2, 3), dtype=torch.int32)
        if self.rest.shape[1]:
            last = self.rest.unsqueeze(1) <= logits.unsqueeze(-1)
            lower = lower + last.sum(2, dtype=torch.int32)
        near = own.unsqueeze(-1) * self.size + torch.arange(self.size, device=device)
        around = self.logits.gather(1, near.clamp_max(vocabulary - 1).flatten(1)).view_as(near)
        ties = (around == logits.unsqueeze(-1)) & (near < ids.unsqueeze(-1))
        ranks = vocabulary - lower + ties.sum(2, dtype=torch.int32) + 1
        return ranks.masked_fill(logits.isnan(), 1).long()


def best_of(logits: Tensor, ids: Tensor) -> Tensor:
    """For each row of `logits` [n, vocabulary], the id in `ids` [n, m] with the largest logit, [n].

    Ids are ascending and padded with -1; ties go to the lower id; 0 if there is no id.
    """
    values = logits.gather(-1, ids.clamp_min(0)).masked_fill(ids < 0, -torch.inf)
    return ids.gather(-1, values.argmax(-1, keepdim=True)).squeeze(-1).clamp_min(0)


def _places_of_best(values: Tensor, count: int) -> Tensor:
    """Places of the `count` largest of each row, [n, m] -> [n, count or m], the best first; ties go
    to the lower place."""
    width = values.shape[1]
    # Adding 0 makes one of the two zeros. The bits of floats, seen as integers, are in their order
    # if those below zero are turned round; below them, 32 bits for the place make all different.
    bits = (values + 0.0).view(torch.int32)
    ordered = bits ^ ((bits >> 31) & 0x7FFFFFFF)
    keys = (ordered.long() << 32) - torch.arange(width, device=values.device)
    return keys.topk(min(count, width)).indices


def _counted_ranks(logits: Tensor, ids: Tensor, values: Tensor) -> Tensor:
    """As `Blocks.ranks`, on a CPU; torch adds up what is true thirty times as slowly as NumPy."""
    ranks = np.empty(tuple(ids.shape), np.int64)
    cells = zip(logits.detach().numpy(), ids.tolist(), values.detach().numpy(), strict=True)
    for index, (row, tokens, wanted) in enumerate(cells):
        for place, (token, value) in enumerate(zip(tokens, wanted, strict=True)):
            equal = np.count_nonzero(row[:token] == value)
            ranks[index, place] = np.count_nonzero(row > value) + equal + 1
    return torch.from_numpy(ranks)
