"""From logits to numbers: reads cells, where a cell is a row at one position of one item.

Numbers are computed on the device of the logits, for a group of cells at once, and packed into one
`Block`, so that a single copy brings them to main memory. On an accelerator nothing here waits for
the device or loops over cells in Python, so a group can be launched on a side stream. All numbers
are float32; probabilities are the softmax over the whole vocabulary, entropy and divergences are in
nats, rank 1 is the best, ties go to the lower id.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import softplus

from engine.lens.ranking import Blocks, best_of
from engine.system.transfers import sent

TILE = 2**20
"""Logits that are read together on a CPU: 4 MB of float32, and three times as much beside them.
From half to twice as many took as long, a quarter and fewer up to twice as long."""
LN_2 = math.log(2)
"""The largest possible Jensen-Shannon divergence."""
LEAST = torch.finfo(torch.float32).min

Tokens = Tensor | Sequence[int]
"""Tokens to follow through all cells: their ids, int64 [t]."""
Spelled = Tensor
"""A token of each cell's own to follow: int64 [r, m], the ids of its spellings, ascending and
padded with -1. Cell i has those of row i mod r."""


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
    - with `reference`, log-probabilities [r, vocabulary]: `kl`, and `js` if asked for. Cell i is
      compared with row i mod r of the reference.

    n is a multiple of every r.
    """
    ids = torch.empty(0, dtype=torch.int64, device=logits.device)
    if len(tokens):
        ids = sent(torch.as_tensor(tokens, dtype=torch.int64), logits.device)
    compared = [len(each) for each in (reference, *spelled) if each is not None]
    blocks = []
    for cells, items in _tiles(logits, max(compared, default=1)):
        blocks.append(
            _read(
                logits[cells],
                top,
                None if streams is None else streams[cells],
                ids,
                _of(reference, items),
                js,
                [each if len(each) == 1 else each[items] for each in spelled],
            )
        )
    return joined(blocks)


def _of(reference: Tensor | None, items: slice) -> Tensor | None:
    return reference if reference is None or len(reference) == 1 else reference[items]


def _tiles(logits: Tensor, items: int) -> Iterator[tuple[slice, slice]]:
    """Cells that are read together, and which items they are of: whole rows, or a part of one. On
    an accelerator, where every tile costs launches, all together."""
    cells, vocabulary = logits.shape
    if logits.device.type != "cpu" or cells * vocabulary <= TILE:
        yield slice(0, cells), slice(0, items)
        return
    most = max(1, TILE // vocabulary)
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
    blocks = Blocks.of(logits, top)
    log_p = logits.log_softmax(-1)  # [n, vocabulary]
    p = log_p.exp() if top or spelled or reference is not None else log_p
    unknown = logits.new_full((n, 1), math.nan)
    lse = entropy = rms = kl = js_divergence = unknown
    ids = blocks.best(top) if top else torch.empty(n, 0, dtype=torch.int64, device=logits.device)
    top_logits, top_log_p = logits.gather(1, ids), log_p.gather(1, ids)  # [n, top]
    followed, probabilities = tokens.expand(n, -1), [log_p[:, tokens].exp()]
    if spelled:
        each_cell = [each.repeat(n // len(each), 1) for each in spelled]
        best = [best_of(logits, each).unsqueeze(1) for each in each_cell]
        followed = torch.cat([followed, *best], 1)  # [n, followed]
        probabilities += [
            p.gather(1, each.clamp_min(0)).masked_fill(each < 0, 0.0).sum(-1, keepdim=True)
            for each in each_cell
        ]
    ranks, followed_logits = [], []
    if followed.shape[1]:
        ranks, followed_logits = [blocks.ranks(followed)], [logits.gather(1, followed)]
    if streams is not None:
        rms = root_mean_square(streams).to(logits.device).unsqueeze(1)
    if js and reference is not None:
        js_divergence = _js(log_p, p, reference).unsqueeze(1)
    # The clamp makes log 0 finite, so that 0 * log 0 is 0 and not NaN.
    log_p = log_p.clamp_min_(LEAST)
    if top:
        lse = top_logits[:, :1] - top_log_p[:, :1]
        entropy = 0.0 - torch.linalg.vecdot(p, log_p).unsqueeze(1)
    if reference is not None:
        kl = _kl_in_place(log_p, p, reference).unsqueeze(1)
    floats = [lse, entropy, rms, kl, js_divergence, top_logits, top_log_p.exp()]
    floats += [*followed_logits, *probabilities]
    integers = torch.cat([ids, *ranks], 1).to(torch.int32)
    values = torch.cat([torch.cat(floats, 1).view(torch.int32), integers], 1)  # [n, columns]
    return Block(values, top, followed.shape[1])


def joined(blocks: Sequence[Block]) -> Block:
    """Concatenate blocks that were read with the same settings."""
    if len(blocks) == 1:
        return blocks[0]
    return blocks[0]._replace(values=torch.cat([block.values for block in blocks]))


def root_mean_square(stream: Tensor) -> Tensor:
    """sqrt(mean(x^2)) over all elements of each stream, [n, *rest] -> float32 [n]."""
    return stream.float().flatten(1).pow(2).mean(-1).sqrt()


def _kl_in_place(log_p: Tensor, p: Tensor, log_q: Tensor) -> Tensor:
    """KL(p || q), [n], of finite `log_p`, which is overwritten. Exactly 0 for equal logits."""
    log_ratios = log_p.view(-1, *log_q.shape).sub_(log_q).view_as(p).mul_(p)
    # A token that both rule out is 0 * (infinite ratio): it contributes nothing.
    kl = log_ratios.nansum(-1).clamp_min_(0.0)
    unknown = p[:, 0].isnan() | log_q[:, 0].isnan().repeat(len(p) // len(log_q))
    return kl.masked_fill_(unknown, math.nan)


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
