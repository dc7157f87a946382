"""From logits to what a row shows: top-k, entropy, ranks, divergences. All float32, in nats."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from engine.prompts.token_texts import TextOf
from engine.records import AnswerReading, LayerReading, Token, Tracked, finite

TIES = 16
"""Equal logits at the edge of the top that are looked for in all rows at once; heads in bfloat16
have many."""

Why = Literal["answer", "top-1", "user"]


class Standings(NamedTuple):
    """Where m tokens stand in n rows, [n, m] each."""

    probability: Tensor
    logit: Tensor
    rank: Tensor


def top_ids(logits: Tensor, count: int) -> Tensor:
    """Ids of the `count` largest logits of one row [vocabulary], ties to the lower id."""
    count = min(count, logits.shape[-1])
    threshold = logits.topk(count).values[-1]
    candidates = (logits >= threshold).nonzero().flatten()
    order = torch.sort(logits[candidates], descending=True, stable=True).indices
    return candidates[order[:count]]


def top_ids_of_rows(logits: Tensor, count: int) -> Tensor:
    """Ids of the `count` largest logits of each row, [n, vocabulary] to [n, count]; ties to the
    lower id."""
    count = min(count, logits.shape[-1])
    if logits.is_cuda:
        return _best_after_best(logits, count)
    wide = min(count + TIES, logits.shape[-1])
    values, ids = logits.topk(wide)
    # Of the wider cut, sorted by id and then, keeping that order, by value.
    ids, order = ids.sort(-1)
    values, again = values.gather(-1, order).sort(dim=-1, descending=True, stable=True)
    found = ids.gather(-1, again)[:, :count]
    # Rows that have more ties than the cut is wider are looked at one by one.
    if wide < logits.shape[-1]:
        for row in (values[:, -1] == values[:, count - 1]).nonzero().flatten().tolist():
            found[row] = top_ids(logits[row], count)
    return found


def _best_after_best(logits: Tensor, count: int) -> Tensor:
    """As `top_ids_of_rows`: no ties to look at, so nothing to wait for; slow on a CPU."""
    left = logits.clamp_min(torch.finfo(logits.dtype).min)
    found: list[Tensor] = []
    for _ in range(count):
        best = left.argmax(-1, keepdim=True)  # the first of equal ones
        found.append(best)
        left.scatter_(-1, best, -torch.inf)
    return torch.cat(found, -1)


def best_of(logits: Tensor, ids: Tensor) -> Tensor:
    """Of `ids` [n, m], ascending and filled up with -1, that with the largest logit in each row
    [n, vocabulary]; ties to the lower id, 0 where there is none."""
    values = logits.gather(-1, ids.clamp_min(0)).masked_fill(ids < 0, -torch.inf)
    return ids.gather(-1, values.argmax(-1, keepdim=True)).squeeze(-1).clamp_min(0)


def ranks_of(logits: Tensor, ids: Tensor) -> Tensor:
    """Rank (1 = best, ties to the lower id) of one token a row, [n, vocabulary] and [n] to [n]."""
    own = logits.gather(-1, ids.unsqueeze(-1))
    ahead = torch.arange(logits.shape[-1], device=logits.device) < ids.unsqueeze(-1)
    return (logits > own).sum(-1) + ((logits == own) & ahead).sum(-1) + 1


def kl_divergence(logits: Tensor, reference: Tensor) -> Tensor:
    """KL(softmax(logits) || softmax(reference)), [n, vocabulary] and [vocabulary] to [n]."""
    log_p, log_q = logits.log_softmax(-1), reference.log_softmax(-1)
    p = log_p.exp()
    return (p * (log_p - log_q)).masked_fill(p == 0, 0.0).sum(-1).clamp_min(0.0)


def ranks(logits: Tensor, ids: Tensor) -> Tensor:
    """Rank (1 = best, ties to the lower id) of each of `ids` [m] in each row, to [n, m]."""
    found = torch.empty(len(logits), len(ids), dtype=torch.int64)
    for column, token in enumerate(ids.tolist()):
        own = logits[:, token : token + 1]
        better = (logits > own).sum(-1) + (logits[:, :token] == own).sum(-1)
        found[:, column] = better.cpu() + 1
    return found


def root_mean_square(stream: Tensor) -> Tensor:
    """sqrt(mean(x^2)) over all elements of each stream, [n, *rest] to [n]."""
    return stream.float().flatten(1).pow(2).mean(-1).sqrt()


def readings(
    layers: Sequence[int],
    streams: Tensor,
    logits: Tensor,
    count: int,
    text_of: TextOf,
    approximate: Sequence[str | None],
) -> list[LayerReading]:
    """One reading per row: `streams` [n, *rest] and their `logits` [n, vocabulary]."""
    log_probabilities = logits.log_softmax(-1)
    entropies = torch.special.entr(log_probabilities.exp()).sum(-1).tolist()
    spreads = root_mean_square(streams).tolist()
    rows: list[LayerReading] = []
    for index, layer in enumerate(layers):
        rows.append(
            LayerReading(
                layer=layer,
                top=top_tokens(logits[index], log_probabilities[index], count, text_of),
                entropy=finite(entropies[index]),
                rms=finite(spreads[index]),
                approximate=approximate[index],
            )
        )
    return rows


def top_tokens(
    logits: Tensor, log_probabilities: Tensor, count: int, text_of: TextOf
) -> tuple[Token, ...]:
    """The `count` best tokens of one row, [vocabulary] each; none where the row is not a number."""
    if bool(logits.isnan().any()):
        return ()
    ids = top_ids(logits, count)
    return tuple(
        Token(id=token, text=text_of(token), probability=share, logit=finite(logit))
        for token, share, logit in zip(
            ids.tolist(), log_probabilities[ids].exp().tolist(), logits[ids].tolist(), strict=True
        )
    )


def standings(logits: Tensor, ids: Tensor) -> Standings:
    """Where the tokens `ids` [m] stand in each row of `logits` [n, vocabulary]."""
    columns = ids.to(logits.device)
    return Standings(
        logits.softmax(-1)[:, columns].cpu(), logits[:, columns].cpu(), ranks(logits, ids)
    )


def tracked_tokens(
    why: Mapping[int, Why], parts: Sequence[Standings], text_of: TextOf
) -> tuple[Tracked, ...]:
    """Tokens and why they are tracked, through all rows: `parts` follow each other."""
    shares, values, places = (torch.cat(part).T.tolist() for part in zip(*parts, strict=True))
    return tuple(
        Tracked(
            id=token,
            text=text_of(token),
            why=reason,
            probability=tuple(finite(share) for share in shares[index]),
            logit=tuple(finite(value) for value in values[index]),
            rank=tuple(places[index]),
        )
        for index, (token, reason) in enumerate(why.items())
    )


def answer_readings(logits: Tensor, answer: int) -> list[AnswerReading | None]:
    """Where the token `answer` stands in each row of `logits` [n, vocabulary]."""
    shares = logits.softmax(-1)[:, answer].tolist()
    places = ranks(logits, torch.tensor([answer]))[:, 0].tolist()
    return [
        AnswerReading(probability=share, logit=finite(logit), rank=rank)
        if math.isfinite(share)
        else None
        for share, logit, rank in zip(shares, logits[:, answer].tolist(), places, strict=True)
    ]
