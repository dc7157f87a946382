"""The decoded answers of a sweep as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from msgspec import UNSET
from numpy.typing import NDArray

from engine.sweeps.matching import YES, answer_words, is_same_answer, is_yes_or_no, soft_score
from engine.sweeps.records import DecodedAnswer, DecodedAnswers, Decoding, SweepItem
from engine.sweeps.settings import names_of

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Decoded:
    """The answers to n items with s settings: means over the draws of each, [n, s] if nothing else
    is said. NaN where an item has no answers, and where a number does not apply to it."""

    settings: tuple[str, ...]
    """Their names; the first is greedy."""
    draws: tuple[int, ...]
    """[s]: how many answers to an item there are."""
    right: Floats
    """Of items whose truth is known, like all but the last two."""
    matched: Floats
    """Whether it says any of the answers that it is compared with."""
    soft: Floats
    """See `engine.sweeps.matching.soft_score`: of items that ten people answered."""
    is_yes: Floats
    """[n]: whether yes is true; of items where yes or no is, like the next two."""
    said_yes: Floats
    said_yes_rightly: Floats
    ended: Floats
    """Whether the model ended it."""
    tokens: Floats
    """How long it is."""

    def only(self, kept: Bools) -> Decoded:
        """Of these items alone."""
        arrays = {
            each.name: getattr(self, each.name)[kept]
            for each in fields(self)
            if each.name not in ("settings", "draws")
        }
        return replace(self, **arrays)


def answers_of(item: SweepItem) -> DecodedAnswers | None:
    """The decoded answers of an item; None if it has none."""
    if item.readings is UNSET:
        return None
    return next((each for each in item.readings if isinstance(each, DecodedAnswers)), None)


def decoded_of(
    decoding: Decoding | None,
    answers: Sequence[DecodedAnswers | None],
    truths: Sequence[str | None],
) -> Decoded | None:
    """The answers of n items, some of which may have none, and their truths in full; None if no
    item has any. The settings of each are those of the sweep (`engine.sweeps.checking`)."""
    if decoding is None or all(each is None for each in answers):
        return None
    names = names_of(decoding)
    numbers = np.full((7, len(answers), len(names)), np.nan)
    is_yes = np.full(len(answers), np.nan)
    for place, (each, truth) in enumerate(zip(answers, truths, strict=True)):
        if each is None:
            continue
        if truth is not None and is_yes_or_no(truth):
            is_yes[place] = answer_words(truth) == YES
        for setting, of in enumerate(each.settings):
            values = [_numbers(answer, truth, each.given) for answer in of.answers]
            numbers[:, place, setting] = np.mean(values, axis=0)
    right, matched, soft, said_yes, rightly, ended, tokens = numbers
    draws = tuple(map(decoding.draws_of, decoding.settings))
    return Decoded(names, draws, right, matched, soft, is_yes, said_yes, rightly, ended, tokens)


def is_right(answer: DecodedAnswer, truth: str) -> bool:
    """Whether an answer says what is true."""
    return answer.matched is not None and is_same_answer(answer.matched, truth)


def _numbers(answer: DecodedAnswer, truth: str | None, given: tuple[str, ...]) -> tuple[Any, ...]:
    nan = np.nan
    soft = soft_score(answer.text, given) if given else nan
    if truth is None:
        return (nan, nan, soft, nan, nan, answer.ended, answer.tokens)
    right, matched = is_right(answer, truth), answer.matched is not None
    said = rightly = nan
    if is_yes_or_no(truth):
        said = answer.matched is not None and answer_words(answer.matched) == YES
        rightly = said and right
    return (right, matched, soft, said, rightly, answer.ended, answer.tokens)
