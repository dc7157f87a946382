"""Reads the cells of a batch from their logits, a few at a time, so that they stay in the cache.

Every pass over logits costs as much as the memory that it moves. A tile of cells is taken from
memory once, and everything is read from it while it is near: softmax, entropy, divergence, the best
tokens and the ranks of others. The best tokens are found from the maxima of short blocks of ids,
and ranks by comparing each block with one threshold, so that neither sorts a vocabulary nor
compares it twice. Nothing here waits for the device. The numbers are those of
`engine.lens.readout.read`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from engine.lens.readout import LEAST, Block, best_of, root_mean_square

TILE = 2**20
"""Logits that are read at once on a CPU: 4 MB of float32, and three times as much beside them.
Smaller tiles fit nearer caches, and lose more to the start and end of every operation."""
TILE_ON_DEVICE = 2**26
"""On an accelerator, where every tile costs some 150 launches: all that are computed at once."""
SHORTEST, LONGEST = 32, 256
"""Ids in a block. A processor takes maxima of shorter ones more slowly; of longer ones too many
candidates are left."""


class BatchReference(NamedTuple):
    """What the cells of a batch of n items are compared with, on the device of their logits."""

    log_q: Tensor
    """float32 [n, vocabulary]: log-probabilities of the last row."""
    followed: tuple[Tensor, ...]
    """int64 [n, spellings] each: the ids of each item's token, ascending and padded with -1."""


@torch.no_grad()
def read_batch(logits: Tensor, top: int, streams: Tensor, reference: BatchReference) -> Block:
    """Read cells from `logits`, float32 [rows * n, vocabulary], all items of a row side by side.

    `streams` [rows * n, *rest] are their residual streams; `top` > 0 is how many of the best tokens
    are found. The divergence is that from the last row.
    """
    tiles = [
        _read_tile(logits[cells], top, BatchReference(*_of_items(reference, items)))
        for cells, items in _tiles(logits, len(reference.log_q))
    ]
    floats, integers = (torch.cat(each) for each in zip(*tiles, strict=True))
    rms = root_mean_square(streams).to(logits.device).unsqueeze(1)
    lse_and_entropy, others = floats[:, :2], floats[:, 2:]
    values = torch.cat([lse_and_entropy, rms, others], 1).view(torch.int32)
    top = min(top, logits.shape[1])
    return Block(torch.cat([values, integers], 1), top, len(reference.followed))


def best_ids(logits: Tensor, top: int) -> Tensor:
    """Ids of the `top` largest logits of each row, [n, vocabulary] -> int64 [n, top]; ties go to
    the lower id. The ids of a row that holds a NaN are arbitrary."""
    return _Blocks.of(logits, top).best(top)


def _tiles(logits: Tensor, items: int) -> Iterator[tuple[slice, slice]]:
    """Cells that are read together, and which items they are of: whole rows, or a part of one."""
    cells, vocabulary = logits.shape
    most = max(1, (TILE if logits.device.type == "cpu" else TILE_ON_DEVICE) // vocabulary)
    step = most // items * items or most
    start = 0
    while start < cells:
        stop = min(start + step, cells)
        if step < items:
            stop = min(stop, start - start % items + items)
            yield slice(start, stop), slice(start % items, (stop - 1) % items + 1)
        else:
            yield slice(start, stop), slice(0, items)
        start = stop


def _of_items(reference: BatchReference, items: slice) -> tuple[Tensor, tuple[Tensor, ...]]:
    return reference.log_q[items], tuple(each[items] for each in reference.followed)


def _read_tile(logits: Tensor, top: int, reference: BatchReference) -> tuple[Tensor, Tensor]:
    """The numbers of a tile's cells: floats [cells, columns] in the order of `Block`, without rms,
    and int32 [cells, top + followed]."""
    cells = len(logits)
    blocks = _Blocks.of(logits, top)
    ids = blocks.best(top)
    log_p = logits.log_softmax(-1)
    p = log_p.exp()
    log_best = log_p.gather(1, ids)
    best = logits.gather(1, ids)
    lse = best[:, :1] - log_best[:, :1]
    probabilities, logits_of_followed, ranks = [], [], []
    for each in reference.followed:
        spellings = each.repeat(cells // len(each), 1)
        shares = p.gather(1, spellings.clamp_min(0)).masked_fill(spellings < 0, 0.0)
        one = best_of(logits, spellings).unsqueeze(1)
        logit = logits.gather(1, one)
        probabilities.append(shares.sum(-1, keepdim=True))
        logits_of_followed.append(logit)
        ranks.append(blocks.ranks(one, logit))
    # The clamp makes log 0 finite, so that 0 * log 0 is 0 and not NaN.
    entropy = 0.0 - torch.linalg.vecdot(p, log_p.clamp_min_(LEAST)).unsqueeze(1)
    ratios = log_p.view(-1, *reference.log_q.shape).sub_(reference.log_q).view_as(p).mul_(p)
    # A token that both rule out is 0 * (infinite ratio): it contributes nothing.
    kl = ratios.nansum(-1, keepdim=True).clamp_min_(0.0)
    # Rows that hold a NaN have no probability that is a number.
    no_number = lse.isnan() | reference.log_q[:, :1].isnan().repeat(
        len(kl) // len(reference.log_q), 1
    )
    kl = torch.where(no_number, math.nan, kl)
    unknown = torch.full_like(lse, math.nan)
    floats = [lse, entropy, kl, unknown, best, log_best.exp(), *logits_of_followed, *probabilities]
    return torch.cat(floats, 1), torch.cat([ids, *ranks], 1).to(torch.int32)


class _Blocks(NamedTuple):
    """Logits of n cells, divided into blocks of consecutive ids; the last one may be shorter."""

    logits: Tensor
    """[n, vocabulary]"""
    size: int
    whole: Tensor
    """[n, blocks, size]: a view of all blocks but a shorter one."""
    rest: Tensor
    """[n, ids]: a view of the shorter one; without ids if there is none."""

    @classmethod
    def of(cls, logits: Tensor, top: int) -> _Blocks:
        """Divide them so that blocks and the ids of the best ones are about as many."""
        vocabulary = logits.shape[1]
        size = 2 ** round(math.log2(max(1.0, vocabulary / max(1, top))) / 2)
        size = min(max(size, SHORTEST), LONGEST)
        end = vocabulary // size * size
        return cls(logits, size, logits[:, :end].unflatten(1, (-1, size)), logits[:, end:])

    def best(self, top: int) -> Tensor:
        """Ids of the `top` largest logits, [n, top]; ties go to the lower id.

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

    def ranks(self, ids: Tensor, logits: Tensor) -> Tensor:
        """Ranks of one token of each cell, [n, 1] as its `ids` and its `logits`.

        Equal logits rank higher only if their id is lower: in the blocks before the token's own all
        that are not below its logit, in the blocks after it those that are above.
        """
        vocabulary, device = self.logits.shape[1], ids.device
        own = ids // self.size
        # No logit lies below minus infinity: none is at most NaN.
        below = torch.nextafter(logits, torch.full_like(logits, -torch.inf))
        below = torch.where(logits == -torch.inf, math.nan, below)
        count = self.whole.shape[1]
        limits = torch.where(torch.arange(count, device=device) < own, below, logits)
        behind = (self.whole <= limits.unsqueeze(-1)).sum((1, 2), dtype=torch.int32)
        if self.rest.shape[1]:
            behind = behind + (self.rest <= logits).sum(1, dtype=torch.int32)
        near = own * self.size + torch.arange(self.size, device=device)  # [n, size]
        ties = self.logits.gather(1, near.clamp_max(vocabulary - 1)) == logits
        before = (ties & (near < ids)).sum(1, dtype=torch.int32)
        return (vocabulary - behind + before + 1).unsqueeze(1)


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
