"""Turns the numbers of a readout, once they are on the CPU, into records."""

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
    """One reading for each cell of `numbers`; the cells are the rows `layers` at one position.

    `approximate` says for each row why it is not exactly the truncated model's, or None.
    """
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
    """The top-k tokens of each cell, the best first; none if the cell is NaN."""
    return [
        ()
        if math.isnan(entropy)
        else tuple(
            Token(id=token, text=text_of(token), probability=probability, logit=finite(logit))
            for token, probability, logit in zip(ids, probabilities, logits, strict=True)
        )
        for entropy, ids, probabilities, logits in zip(
            numbers.entropy.tolist(),
            numbers.ids.tolist(),
            numbers.probabilities.tolist(),
            numbers.logits.tolist(),
            strict=True,
        )
    ]


def tracked_tokens(
    why: Mapping[int, Why], groups: Sequence[Numbers], text_of: TextOf
) -> tuple[Tracked, ...]:
    """The followed tokens through all rows.

    `why` gives for each token, in the order in which they were followed, the reason why it is
    tracked; `groups` are the numbers of consecutive groups of rows.
    """
    columns = [
        torch.cat(pieces).T.tolist()  # [tokens][rows]
        for pieces in zip(
            *(
                (each.followed_probabilities, each.followed_logits, each.followed_ranks)
                for each in groups
            ),
            strict=True,
        )
    ]
    return tuple(
        Tracked(
            id=token,
            text=text_of(token),
            why=reason,
            probability=tuple(finite(probability) for probability in probabilities),
            logit=tuple(finite(logit) for logit in logits),
            rank=tuple(ranks),
        )
        for (token, reason), probabilities, logits, ranks in zip(why.items(), *columns, strict=True)
    )


def answer_readings(numbers: Numbers, column: int = 0) -> list[AnswerReading | None]:
    """Probability, logit and rank of the answer in each cell; None if the cell is NaN.

    `column` is the answer's place among the followed tokens.
    """
    return [
        AnswerReading(probability=probability, logit=finite(logit), rank=rank)
        if math.isfinite(probability)
        else None
        for probability, logit, rank in zip(
            numbers.followed_probabilities[:, column].tolist(),
            numbers.followed_logits[:, column].tolist(),
            numbers.followed_ranks[:, column].tolist(),
            strict=True,
        )
    ]
