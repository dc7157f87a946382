"""From logits to numbers: reads cells, where a cell is a row at one position of one item.

Numbers are computed on the device of the logits, for a group of cells at once, and packed into one
`Block`, so that a single copy brings them to main memory. On an accelerator nothing here waits for
the device or loops over cells in Python, so a group can be launched on a side stream. All numbers
are float32; probabilities are the softmax over the whole vocabulary, entropy and divergences are in
nats, rank 1 is the best, ties go to the lower id.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import softplus

from engine.system.transfers import sent

BLOCK = 64
"""Logits whose maximum is looked at first: the best tokens are in the blocks of the best maxima."""
LOGITS_AT_ONCE_ON_CPU = 2**18
"""1 MB of float32: what is computed of them stays in the cache, and the allocator reuses it. Seven
rows of 152,000 logits took twice as long all at once."""
COMPARED_AT_ONCE = 2**27
"""Comparisons of a logit with a followed token's, made at once on an accelerator: 128 MB."""
LN_2 = math.log(2)
"""The largest possible Jensen-Shannon divergence."""
LEAST = torch.finfo(torch.float32).min

Tokens = Tensor | Sequence[int]
"""Tokens to follow through all cells: their ids, int64 [t]."""
Spelled = Tensor
"""A token of each cell's own to follow: int64 [cells, m], the ids of its spellings, ascending and
padded with -1."""


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

    @property
    def ids(self) -> Tensor:
        """int32 [n, top]: the ids of the top-k tokens, on the device."""
        end = self.values.shape[1] - self.followed
        return self.values[:, end - self.top : end]

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
    tokens: Tokens = (),
    reference: Tensor | None = None,
    js: bool = False,
    spelled: Sequence[Spelled] = (),
) -> Block:
    """Read n cells from `logits`, float32 [n, vocabulary].

    - with `top` > 0: the top-k tokens, `lse` and `entropy`
    - with `streams` [n, *rest]: `rms`
    - with `tokens` and `spelled`: logits, probabilities and ranks of those tokens, in this order
    - with `reference`, log-probabilities [r, vocabulary]: `kl`, and `js` if asked for. n is a
      multiple of r; cell i is compared with row i mod r of the reference.
    """
    ids = torch.empty(0, dtype=torch.int64, device=logits.device)
    if len(tokens):
        ids = sent(torch.as_tensor(tokens, dtype=torch.int64), logits.device)
    if logits.device.type != "cpu":
        return _read(logits, top, streams, ids, reference, js, spelled)
    # Cell i is compared with row i mod r of the reference: parts hold a multiple of r cells.
    compared = 1 if reference is None else len(reference)
    size = max(1, LOGITS_AT_ONCE_ON_CPU // logits.shape[1] // compared) * compared
    return joined(
        [
            _read(
                logits[start : start + size],
                top,
                None if streams is None else streams[start : start + size],
                ids,
                reference,
                js,
                [each[start : start + size] for each in spelled],
            )
            for start in range(0, max(1, len(logits)), size)
        ]
    )


def _read(
    logits: Tensor,
    top: int,
    streams: Tensor | None,
    tokens: Tensor,
    reference: Tensor | None,
    js: bool,
    spelled: Sequence[Spelled],
) -> Block:
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
    followed = [_follow(logits, log_p, each) for each in spelled]  # [n, 1] each
    if len(tokens):
        same = (logits[:, tokens], log_p[:, tokens].exp(), ranks_of_tokens(logits, tokens))
        followed.insert(0, same)  # [n, tokens] each
    if streams is not None:
        rms = root_mean_square(streams).to(logits.device).unsqueeze(1)
    if reference is not None:
        assert p is not None
        if js:
            js_divergence = _js(log_p, p, reference).unsqueeze(1)
        kl = _kl_in_place(log_p, p, reference).unsqueeze(1)
    floats = [lse, entropy, rms, kl, js_divergence, top_logits, top_probabilities]
    for column in (0, 1):
        floats += [each[column] for each in followed]
    integers = torch.cat([ids, *(each[2] for each in followed)], 1).to(torch.int32)
    values = torch.cat([torch.cat(floats, 1).view(torch.int32), integers], 1)  # [n, columns]
    return Block(values, top, len(tokens) + len(spelled))


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

    Ties go to the lower id. The ids of a row that holds a NaN are arbitrary. Every logit is read
    once: the k best are among the k blocks of the largest maxima, of which those of lower ids come
    first among equal ones.
    """
    vocabulary = logits.shape[1]
    count = min(count, vocabulary)
    whole = vocabulary // BLOCK
    maxima = logits[:, : whole * BLOCK].unflatten(1, (whole, BLOCK)).amax(-1)  # [n, whole]
    if whole * BLOCK < vocabulary:
        maxima = torch.cat([maxima, logits[:, whole * BLOCK :].amax(-1, keepdim=True)], 1)
    # Stable, so that ties stay in the order of their ids.
    blocks = maxima.sort(dim=-1, descending=True, stable=True).indices[:, :count].sort(-1).values
    within = torch.arange(BLOCK, device=logits.device)
    ids = (blocks.unsqueeze(-1) * BLOCK + within).flatten(1)  # [n, blocks * BLOCK], ascending
    values = logits.gather(1, ids.clamp_max(vocabulary - 1))
    values = values.masked_fill(ids >= vocabulary, -torch.inf)
    best = values.sort(dim=-1, descending=True, stable=True).indices[:, :count]
    found: Tensor = ids.gather(1, best)
    return found


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


def ranks_of_tokens(logits: Tensor, ids: Tensor) -> Tensor:
    """Ranks of the same tokens in every row: `logits` [n, vocabulary], `ids` [t] -> [n, t].

    Equal logits rank higher only if their id is lower.
    """
    values = logits[:, ids]  # [n, t]
    if logits.device.type == "cpu":
        return _counted_ranks(logits, ids, values)
    found = []
    lower = torch.arange(logits.shape[1], device=logits.device) < ids.unsqueeze(
        1
    )  # [t, vocabulary]
    size = max(1, COMPARED_AT_ONCE // max(1, lower.numel()))
    for some, value in zip(logits.split(size), values.unsqueeze(2).split(size), strict=True):
        row = some.unsqueeze(1)  # [some, 1, vocabulary]
        found.append(((row == value).logical_and_(lower)).logical_or_(row > value).sum(-1) + 1)
    return torch.cat(found)


def _counted_ranks(logits: Tensor, ids: Tensor, values: Tensor) -> Tensor:
    """As `ranks_of_tokens`, on a CPU, where NumPy counts what is true thirty times as fast."""
    rows, tokens = logits.detach().numpy(), ids.tolist()
    ranks = np.empty(values.shape, np.int64)
    for index, (row, wanted) in enumerate(zip(rows, values.detach().numpy(), strict=True)):
        for place, (token, value) in enumerate(zip(tokens, wanted, strict=True)):
            equal = np.count_nonzero(row[:token] == value)
            ranks[index, place] = np.count_nonzero(row > value) + equal + 1
    return torch.from_numpy(ranks)


def _follow(logits: Tensor, log_p: Tensor, spelled: Spelled) -> tuple[Tensor, Tensor, Tensor]:
    """Logit, probability and rank of each cell's own token, [n, 1] each."""
    probabilities = log_p.gather(1, spelled.clamp_min(0)).exp()  # [n, m]
    best = best_of(logits, spelled)
    return (
        logits.gather(1, best.unsqueeze(1)),
        probabilities.masked_fill(spelled < 0, 0.0).sum(-1, keepdim=True),
        ranks_of(logits, best).unsqueeze(1),
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
