"""From the numbers of a readout, once they are on the CPU, to the records that show them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import torch

from engine.lens.readout import Numbers
from engine.prompts.token_texts import TextOf
from engine.records import AnswerReading, LayerReading, Token, Tracked, finite

Why = Literal["answer", "top-1", "user"]


def layer_readings(
    layers: Sequence[int],
    numbers: Numbers,
    text_of: TextOf,
    approximate: Sequence[str | None],
) -> list[LayerReading]:
    """A reading for each cell: they are those of the rows `layers`, at one position."""
    return [
        LayerReading(
            layer=layer, top=top, entropy=finite(entropy), rms=finite(rms), approximate=note
        )
        for layer, top, entropy, rms, note in zip(
            layers,
            top_tokens(numbers, text_of),
            numbers.entropy.tolist(),
            numbers.rms.tolist(),
            approximate,
            strict=True,
        )
    ]


def top_tokens(numbers: Numbers, text_of: TextOf) -> list[tuple[Token, ...]]:
    """The best tokens of each cell; none where it is not a number."""
    return [
        ()
        if math.isnan(entropy)
        else tuple(
            Token(id=token, text=text_of(token), probability=share, logit=finite(logit))
            for token, share, logit in zip(ids, shares, logits, strict=True)
        )
        for entropy, ids, shares, logits in zip(
            numbers.entropy.tolist(),
            numbers.ids.tolist(),
            numbers.probabilities.tolist(),
            numbers.logits.tolist(),
            strict=True,
        )
    ]


def tracked_tokens(
    why: Mapping[int, Why], parts: Sequence[Numbers], text_of: TextOf
) -> tuple[Tracked, ...]:
    """The tokens that were followed, and why they are tracked, through all rows: `parts` follow
    each other."""
    columns = [
        torch.cat(part).T.tolist()  # [tokens][rows]
        for part in zip(
            *(
                (each.followed_probabilities, each.followed_logits, each.followed_ranks)
                for each in parts
            ),
            strict=True,
        )
    ]
    return tuple(
        Tracked(
            id=token,
            text=text_of(token),
            why=reason,
            probability=tuple(finite(share) for share in shares),
            logit=tuple(finite(logit) for logit in logits),
            rank=tuple(ranks),
        )
        for (token, reason), shares, logits, ranks in zip(why.items(), *columns, strict=True)
    )


def answer_readings(numbers: Numbers, place: int = 0) -> list[AnswerReading | None]:
    """Where the answer, the token that was followed at `place`, stands in each cell; None where
    that is not a number."""
    return [
        AnswerReading(probability=share, logit=finite(logit), rank=rank)
        if math.isfinite(share)
        else None
        for share, logit, rank in zip(
            numbers.followed_probabilities[:, place].tolist(),
            numbers.followed_logits[:, place].tolist(),
            numbers.followed_ranks[:, place].tolist(),
            strict=True,
        )
    ]
