"""From logits to numbers: what is read of every cell, a row at one position of one item.

Everything is computed on the device of the logits, a group of cells at once, and packed into one
`Block`, which one copy brings to main memory. Nothing in here waits for the device and nothing is
done in Python cell by cell, so a group can be launched on a stream of its own, and captured. All
numbers are float32; probabilities are softmax over the whole vocabulary, entropy and divergences
are in nats, rank 1 is the best, ties go to the lower id.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import softplus

TIES = 16
"""Equal logits at the edge of the top that are looked for in all rows at once; heads in bfloat16
have many."""
FEW = 32
"""So many best tokens are found one after the other on a GPU, without waiting for it; more of them
with a wait, to look for ties."""
LN_2 = math.log(2)
"""The largest Jensen-Shannon divergence that there is."""
LEAST = torch.finfo(torch.float32).min

Followed = int | Tensor
"""A token that is followed through all cells; or int64 [cells, m], the ids of each cell's token in
all its spellings, ascending and filled up with -1."""


class Numbers(NamedTuple):
    """What was read of n cells, on the CPU; NaN where a cell is not a number, or it was not asked
    for."""

    lse: Tensor
    """[n]: logsumexp of the logits; a probability is exp(logit - lse)."""
    entropy: Tensor
    """[n]"""
    rms: Tensor
    """[n]: sqrt(mean(x^2)) of the residual stream."""
    kl: Tensor
    """[n]: KL(cell || reference); infinite where the reference never gives what the cell gives."""
    js: Tensor
    """[n]: Jensen-Shannon divergence, 0 to ln 2; SciPy's `jensenshannon` is its square root."""
    logits: Tensor
    """[n, top]: of the best tokens, in order."""
    probabilities: Tensor
    """[n, top]"""
    followed_logits: Tensor
    """[n, followed]: of the best spelling."""
    followed_probabilities: Tensor
    """[n, followed]: of all spellings together."""
    ids: Tensor
    """int32 [n, top]"""
    followed_ranks: Tensor
    """int32 [n, followed]: of the best spelling."""


class Block(NamedTuple):
    """The numbers of n cells, perhaps still being computed."""

    values: Tensor
    """int32 [n, columns], the fields of `Numbers` side by side; float32 bit for bit."""
    top: int
    followed: int

    def numbers(self) -> Numbers:
        """The numbers, brought to the CPU in one copy."""
        widths = [1, 1, 1, 1, 1, *2 * [self.top], *2 * [self.followed], self.top, self.followed]
        columns = self.values.cpu().split(widths, -1)
        floats = [column.view(torch.float32) for column in columns[:-2]]
        return Numbers(*(each[:, 0] for each in floats[:5]), *floats[5:], *columns[-2:])


@torch.no_grad()
def read(
    logits: Tensor,
    top: int = 0,
    streams: Tensor | None = None,
    followed: Sequence[Followed] = (),
    reference: Tensor | None = None,
    js: bool = False,
) -> Block:
    """Read n cells of `logits` [n, vocabulary], float32.

    `top` best tokens, with which come `lse` and `entropy`; `rms` of the `streams` [n, *rest];
    logits, probabilities and ranks of the tokens that are `followed`; `kl`, and `js` if asked for,
    to the log-probabilities `reference` [r, vocabulary], where n is a multiple of r and cell i is
    compared with i modulo r.
    """
    n, vocabulary = logits.shape
    top = min(top, vocabulary)
    log_p = logits.log_softmax(-1)  # [n, vocabulary]
    p = log_p.exp() if top or reference is not None else None
    unknown = logits.new_full((n, 1), math.nan)
    lse = entropy = rms = kl = apart = unknown
    ids = torch.empty(n, 0, dtype=torch.int64, device=logits.device)
    if top:
        assert p is not None
        ids = top_ids_of_rows(logits, top)  # [n, top]
        lse = logits.gather(1, ids[:, :1]) - log_p.gather(1, ids[:, :1])
        # What has no probability has a finite logarithm here: it counts for nothing.
        entropy = 0.0 - log_p.clamp_min(LEAST).mul_(p).sum(-1, keepdim=True)
    top_logits, top_shares = logits.gather(1, ids), log_p.gather(1, ids).exp()
    standing = [_standing(logits, log_p, each) for each in followed]
    if streams is not None:
        rms = root_mean_square(streams).to(logits.device).unsqueeze(1)
    if reference is not None:
        assert p is not None
        if js:
            apart = _js(log_p, p, reference).unsqueeze(1)
        kl = _kl_in_place(log_p, p, reference).unsqueeze(1)
    floats = [lse, entropy, rms, kl, apart, top_logits, top_shares]
    for column in (0, 1):
        floats += [each[column].unsqueeze(1) for each in standing]
    places = [each[2].unsqueeze(1) for each in standing]
    whole = torch.cat([ids, *places], 1).to(torch.int32)
    values = torch.cat([torch.cat(floats, 1).view(torch.int32), whole], 1)
    return Block(values, top, len(standing))


def joined(blocks: Sequence[Block]) -> Block:
    """Blocks of the same kind, one after the other."""
    if len(blocks) == 1:
        return blocks[0]
    return blocks[0]._replace(values=torch.cat([block.values for block in blocks]))


def root_mean_square(stream: Tensor) -> Tensor:
    """sqrt(mean(x^2)) over all elements of each stream, [n, *rest] to [n]."""
    return stream.float().flatten(1).pow(2).mean(-1).sqrt()


def top_ids(logits: Tensor, count: int) -> Tensor:
    """Ids of the `count` largest logits of one row [vocabulary], ties to the lower id."""
    count = min(count, logits.shape[-1])
    threshold = logits.topk(count).values[-1]
    candidates = (logits >= threshold).nonzero().flatten()
    order = torch.sort(logits[candidates], descending=True, stable=True).indices
    return candidates[order[:count]]


def top_ids_of_rows(logits: Tensor, count: int) -> Tensor:
    """Ids of the `count` largest logits of each row, [n, vocabulary] to [n, count]; ties to the
    lower id, whatever in a row with NaN."""
    count = min(count, logits.shape[-1])
    if logits.is_cuda and count <= FEW:
        return _best_after_best(logits, count)
    wide = min(count + TIES, logits.shape[-1])
    values, ids = logits.topk(wide)
    # Of the wider cut, sorted by id and then, keeping that order, by value.
    ids, order = ids.sort(-1)
    values, again = values.gather(-1, order).sort(dim=-1, descending=True, stable=True)
    found = ids.gather(-1, again)[:, :count]
    # Rows that have more ties than the cut is wider are looked at one by one.
    if wide < logits.shape[-1]:
        tied = (values[:, -1] == values[:, count - 1]) & ~values[:, 0].isnan()
        for row in tied.nonzero().flatten().tolist():
            found[row] = top_ids(logits[row], count)
    return found


def _best_after_best(logits: Tensor, count: int) -> Tensor:
    """As `top_ids_of_rows`: no ties to look at, so nothing to wait for; slow on a CPU."""
    remaining = logits.clamp_min(torch.finfo(logits.dtype).min)
    found: list[Tensor] = []
    for _ in range(count):
        best = remaining.argmax(-1, keepdim=True)  # the first of equal ones
        found.append(best)
        remaining.scatter_(-1, best, -torch.inf)
    return torch.cat(found, -1)


def best_of(logits: Tensor, ids: Tensor) -> Tensor:
    """Of `ids` [n, m], ascending and filled up with -1, that with the largest logit in each row
    [n, vocabulary]; ties to the lower id, 0 where there is none."""
    values = logits.gather(-1, ids.clamp_min(0)).masked_fill(ids < 0, -torch.inf)
    return ids.gather(-1, values.argmax(-1, keepdim=True)).squeeze(-1).clamp_min(0)


def ranks_of(logits: Tensor, ids: Tensor) -> Tensor:
    """Rank of one token a row, [n, vocabulary] and [n] to [n]."""
    own = logits.gather(-1, ids.unsqueeze(-1))
    lower = torch.arange(logits.shape[-1], device=logits.device) < ids.unsqueeze(-1)
    return ((logits == own).logical_and_(lower)).logical_or_(logits > own).sum(-1) + 1


def rank_of(logits: Tensor, token: int) -> Tensor:
    """Rank of the same token in every row, [n, vocabulary] to [n]."""
    own = logits[:, token : token + 1]
    # Of equal logits only those of lower ids count.
    return (logits[:, :token] >= own).sum(-1) + (logits[:, token + 1 :] > own).sum(-1) + 1


def _standing(logits: Tensor, log_p: Tensor, followed: Followed) -> tuple[Tensor, Tensor, Tensor]:
    """Logit, probability and rank, [n] each."""
    if isinstance(followed, int):
        share = log_p[:, followed].exp()
        return logits[:, followed], share, rank_of(logits, followed)
    shares = log_p.gather(1, followed.clamp_min(0)).exp()  # [n, m]
    best = best_of(logits, followed)
    return (
        logits.gather(1, best.unsqueeze(1)).squeeze(1),
        shares.masked_fill(followed < 0, 0.0).sum(-1),
        ranks_of(logits, best),
    )


def _kl_in_place(log_p: Tensor, p: Tensor, log_q: Tensor) -> Tensor:
    """KL(p || q), [n]; `log_p` is used up. 0 where the logits are the same, to the last bit."""
    log_ratios = log_p.view(-1, *log_q.shape).sub_(log_q).view_as(p).mul_(p)
    # What has no weight counts for nothing, infinite as it may be.
    return log_ratios.masked_fill_(p == 0, 0.0).sum(-1).clamp_min(0.0)


def _js(log_p: Tensor, p: Tensor, log_q: Tensor) -> Tensor:
    """The Jensen-Shannon divergence, [n]; 0 where the logits are the same, to the last bit."""
    shape = (-1, *log_q.shape)  # [n / r, r, vocabulary]
    p, q = p.view(shape), log_q.exp()
    log_ratios = log_q - log_p.view(shape)
    # With m the mean of both, ln(m / p) = ln((1 + q / p) / 2), which is 0 where p = q.
    halves = _expected(p, LN_2 - _softplus(log_ratios)) + _expected(
        q, LN_2 - _softplus(-log_ratios)
    )
    return (halves / 2).clamp(0.0, LN_2).flatten()


def _softplus(values: Tensor) -> Tensor:
    return softplus(values, threshold=50)


def _expected(weights: Tensor, values: Tensor) -> Tensor:
    """Sum over the vocabulary; what has no weight counts for nothing, infinite as it may be."""
    return values.mul_(weights).masked_fill_(weights == 0, 0.0).sum(-1)
