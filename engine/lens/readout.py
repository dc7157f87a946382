"""From logits to numbers: reads cells, where a cell is a row at one position of one item.

Numbers are computed on the device of the logits, for a group of cells at once, and packed into one
`Block`, so that a single copy brings them to main memory. Nothing here waits for the device or
loops over cells in Python, so a group can be launched on a CUDA side stream. All numbers are
float32; probabilities are the softmax over the whole vocabulary, entropy and divergences are in
nats, rank 1 is the best, ties go to the lower id.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import softplus

TIES = 16
"""How many logits tied with the last of the top k are resolved for all rows at once; bfloat16 heads
produce many ties."""
FEW = 32
"""On a GPU, up to this many top tokens are found by repeated argmax, without waiting for the
device; for more, ties are resolved with a wait."""
LN_2 = math.log(2)
"""The largest possible Jensen-Shannon divergence."""
LEAST = torch.finfo(torch.float32).min

Followed = int | Tensor
"""A token to follow through all cells; or int64 [cells, m], the ids of the spellings of each cell's
token, ascending and padded with -1."""


class Numbers(NamedTuple):
    """The numbers of n cells, on the CPU; float32 unless stated. NaN if the cell's logits hold a
    NaN, or if the number was not asked for."""

    lse: Tensor
    """[n]: logsumexp of the logits; a probability is exp(logit - lse)."""
    entropy: Tensor
    """[n]"""
    rms: Tensor
    """[n]: sqrt(mean(x^2)) of the residual stream."""
    kl: Tensor
    """[n]: KL(cell || reference); infinite if the reference rules out a token that the cell does
    not."""
    js: Tensor
    """[n]: Jensen-Shannon divergence, 0 to ln 2; SciPy's `jensenshannon` is its square root."""
    logits: Tensor
    """[n, top]: the logits of the top-k tokens, the best first."""
    probabilities: Tensor
    """[n, top]: their probabilities."""
    followed_logits: Tensor
    """[n, followed]: the logit of the best spelling."""
    followed_probabilities: Tensor
    """[n, followed]: the sum over all spellings."""
    ids: Tensor
    """int32 [n, top]: the ids of the top-k tokens."""
    followed_ranks: Tensor
    """int32 [n, followed]: the rank of the best spelling."""


class Block(NamedTuple):
    """The numbers of n cells on the device, which may still be computing them."""

    values: Tensor
    """int32 [n, columns]: the fields of `Numbers` side by side; floats as their bit patterns."""
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
    """Read n cells from `logits`, float32 [n, vocabulary].

    - with `top` > 0: the top-k tokens, `lse` and `entropy`
    - with `streams` [n, *rest]: `rms`
    - with `followed`: logits, probabilities and ranks of those tokens
    - with `reference`, log-probabilities [r, vocabulary]: `kl`, and `js` if asked for. n is a
      multiple of r; cell i is compared with row i mod r of the reference.
    """
    n, vocabulary = logits.shape
    top = min(top, vocabulary)
    log_p = logits.log_softmax(-1)  # [n, vocabulary]
    p = log_p.exp() if top or reference is not None else None
    unknown = logits.new_full((n, 1), math.nan)
    lse = entropy = rms = kl = js_divergence = unknown
    ids = torch.empty(n, 0, dtype=torch.int64, device=logits.device)
    if top:
        assert p is not None
        ids = top_ids_of_rows(logits, top)  # [n, top]
        lse = logits.gather(1, ids[:, :1]) - log_p.gather(1, ids[:, :1])
        # The clamp makes log 0 finite, so that 0 * log 0 is 0 and not NaN.
        entropy = 0.0 - log_p.clamp_min(LEAST).mul_(p).sum(-1, keepdim=True)
    top_logits, top_probabilities = logits.gather(1, ids), log_p.gather(1, ids).exp()  # [n, top]
    tracked = [_follow(logits, log_p, each) for each in followed]
    if streams is not None:
        rms = root_mean_square(streams).to(logits.device).unsqueeze(1)
    if reference is not None:
        assert p is not None
        if js:
            js_divergence = _js(log_p, p, reference).unsqueeze(1)
        kl = _kl_in_place(log_p, p, reference).unsqueeze(1)
    floats = [lse, entropy, rms, kl, js_divergence, top_logits, top_probabilities]
    for column in (0, 1):
        floats += [each[column].unsqueeze(1) for each in tracked]
    ranks = [each[2].unsqueeze(1) for each in tracked]
    integers = torch.cat([ids, *ranks], 1).to(torch.int32)
    values = torch.cat([torch.cat(floats, 1).view(torch.int32), integers], 1)  # [n, columns]
    return Block(values, top, len(tracked))


def joined(blocks: Sequence[Block]) -> Block:
    """Concatenate blocks that were read with the same settings."""
    if len(blocks) == 1:
        return blocks[0]
    return blocks[0]._replace(values=torch.cat([block.values for block in blocks]))


def root_mean_square(stream: Tensor) -> Tensor:
    """sqrt(mean(x^2)) over all elements of each stream, [n, *rest] -> float32 [n]."""
    return stream.float().flatten(1).pow(2).mean(-1).sqrt()


def top_ids(logits: Tensor, count: int) -> Tensor:
    """Ids of the `count` largest logits of one row, [vocabulary] -> [count]; ties go to the lower
    id."""
    count = min(count, logits.shape[-1])
    threshold = logits.topk(count).values[-1]
    candidates = (logits >= threshold).nonzero().flatten()
    order = torch.sort(logits[candidates], descending=True, stable=True).indices
    return candidates[order[:count]]


def top_ids_of_rows(logits: Tensor, count: int) -> Tensor:
    """Ids of the `count` largest logits of each row, [n, vocabulary] -> [n, count].

    Ties go to the lower id. The ids of a row that holds a NaN are arbitrary.
    """
    count = min(count, logits.shape[-1])
    if logits.is_cuda and count <= FEW:
        return _best_after_best(logits, count)
    wide = min(count + TIES, logits.shape[-1])
    values, ids = logits.topk(wide)
    # Sort the wider top by id, then stably by value, so that ties are in the order of their ids.
    ids, order = ids.sort(-1)
    values, again = values.gather(-1, order).sort(dim=-1, descending=True, stable=True)
    found = ids.gather(-1, again)[:, :count]
    # Rows whose ties may reach beyond the wider top are read one by one.
    if wide < logits.shape[-1]:
        tied = (values[:, -1] == values[:, count - 1]) & ~values[:, 0].isnan()
        for row in tied.nonzero().flatten().tolist():
            found[row] = top_ids(logits[row], count)
    return found


def _best_after_best(logits: Tensor, count: int) -> Tensor:
    """As `top_ids_of_rows`, by repeated argmax: needs no wait for the device; slow on a CPU."""
    remaining = logits.clamp_min(torch.finfo(logits.dtype).min)
    found: list[Tensor] = []
    for _ in range(count):
        best = remaining.argmax(-1, keepdim=True)  # the lowest id among equal logits
        found.append(best)
        remaining.scatter_(-1, best, -torch.inf)
    return torch.cat(found, -1)


def best_of(logits: Tensor, ids: Tensor) -> Tensor:
    """For each row of `logits` [n, vocabulary], the id in `ids` [n, m] with the largest logit, [n].

    Ids are ascending and padded with -1; ties go to the lower id; 0 if there is no id.
    """
    values = logits.gather(-1, ids.clamp_min(0)).masked_fill(ids < 0, -torch.inf)
    return ids.gather(-1, values.argmax(-1, keepdim=True)).squeeze(-1).clamp_min(0)


def ranks_of(logits: Tensor, ids: Tensor) -> Tensor:
    """Rank of one token per row: `logits` [n, vocabulary], `ids` [n] -> [n]."""
    logit = logits.gather(-1, ids.unsqueeze(-1))  # [n, 1]
    lower = torch.arange(logits.shape[-1], device=logits.device) < ids.unsqueeze(-1)
    return ((logits == logit).logical_and_(lower)).logical_or_(logits > logit).sum(-1) + 1


def rank_of(logits: Tensor, token: int) -> Tensor:
    """Rank of the same token in every row, [n, vocabulary] -> [n]."""
    logit = logits[:, token : token + 1]  # [n, 1]
    # Equal logits rank higher only if their id is lower.
    return (logits[:, :token] >= logit).sum(-1) + (logits[:, token + 1 :] > logit).sum(-1) + 1


def _follow(logits: Tensor, log_p: Tensor, followed: Followed) -> tuple[Tensor, Tensor, Tensor]:
    """Logit, probability and rank of a followed token, [n] each."""
    if isinstance(followed, int):
        return logits[:, followed], log_p[:, followed].exp(), rank_of(logits, followed)
    probabilities = log_p.gather(1, followed.clamp_min(0)).exp()  # [n, m]
    best = best_of(logits, followed)
    return (
        logits.gather(1, best.unsqueeze(1)).squeeze(1),
        probabilities.masked_fill(followed < 0, 0.0).sum(-1),
        ranks_of(logits, best),
    )


def _kl_in_place(log_p: Tensor, p: Tensor, log_q: Tensor) -> Tensor:
    """KL(p || q), [n]; overwrites `log_p`. Exactly 0 for equal logits."""
    log_ratios = log_p.view(-1, *log_q.shape).sub_(log_q).view_as(p).mul_(p)
    # Tokens with p = 0 contribute nothing, even if their log ratio is infinite.
    return log_ratios.masked_fill_(p == 0, 0.0).sum(-1).clamp_min(0.0)


def _js(log_p: Tensor, p: Tensor, log_q: Tensor) -> Tensor:
    """Jensen-Shannon divergence (KL(p || m) + KL(q || m)) / 2 with m = (p + q) / 2, [n]; exactly 0
    for equal logits."""
    shape = (-1, *log_q.shape)  # [n / r, r, vocabulary]
    p, q = p.view(shape), log_q.exp()
    log_ratios = log_q - log_p.view(shape)
    # ln(p / m) = ln 2 - ln(1 + q / p) = ln 2 - softplus(ln(q / p)), which is 0 where p = q.
    halves = _expected(p, LN_2 - _softplus(log_ratios)) + _expected(
        q, LN_2 - _softplus(-log_ratios)
    )
    return (halves / 2).clamp(0.0, LN_2).flatten()


def _softplus(values: Tensor) -> Tensor:
    return softplus(values, threshold=50)


def _expected(weights: Tensor, values: Tensor) -> Tensor:
    """Weighted sum over the vocabulary; entries of weight 0 add nothing, even if infinite."""
    return values.mul_(weights).masked_fill_(weights == 0, 0.0).sum(-1)
