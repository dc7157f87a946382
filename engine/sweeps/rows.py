"""From the numbers of a batch to the rows of its items.

A sweep makes hundreds of records for every item, so whole columns become lists, and records are
made by `map`, without a line of Python for each.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, cycle, islice
from typing import TypeVar

from torch import Tensor

from engine.lens.batched import ItemNumbers, RowNumbers
from engine.prompts.token_texts import TextOf
from engine.records import Token, finite
from engine.sweeps.records import Standing, SweepRow

Rows = tuple[SweepRow, ...]
Made = TypeVar("Made")


def rows_of(
    read: RowNumbers, numbers: ItemNumbers, knows_truth: Sequence[bool], text_of: TextOf
) -> list[Rows]:
    """The rows of each item of `numbers`, whose `rows` or `unnormed` are `read`; rows have a truth
    for those items whose truth is known."""
    items, count, top = read.top_ids.shape
    # Entropy is NaN where the row's logits are: it has no best tokens.
    unknown = read.entropy.isnan()
    made = map(
        SweepRow,
        cycle(range(count)),
        _without(unknown, _tops(read, top, text_of), ()),
        _finite(read.entropy),
        _finite(numbers.rms[:, :count]),
        _finite(read.kl_to_last),
        _truths(read, knows_truth),
        _standings(read.final_probability, read.final_rank),
        chain.from_iterable(notes[:count] for notes in numbers.notes),
    )
    return [tuple(islice(made, count)) for _ in range(items)]


def _tops(read: RowNumbers, top: int, text_of: TextOf) -> Iterator[tuple[Token, ...]]:
    """The best tokens of every row of every item."""
    ids = read.top_ids.flatten().tolist()
    shares = read.top_probabilities.flatten().tolist()
    tokens = map(Token, ids, map(text_of, ids), shares, _finite(read.top_logits))
    return zip(*[tokens] * top, strict=True)


def _truths(read: RowNumbers, knows_truth: Sequence[bool]) -> Iterable[Standing | None]:
    known = read.entropy.new_tensor(knows_truth).bool().unsqueeze(1)
    shares = read.truth_probability.where(known, float("nan"))
    return _standings(shares, read.truth_rank)


def _standings(probabilities: Tensor, ranks: Tensor) -> Iterable[Standing | None]:
    """None where the probability is NaN."""
    shares = probabilities.clamp_max(1.0).flatten().tolist()
    made = map(Standing, shares, ranks.flatten().tolist())
    return _without(probabilities.isnan(), made, None)


def _finite(values: Tensor) -> Iterable[float | None]:
    """Numbers that are not finite are None, as in records."""
    numbers: list[float] = values.flatten().tolist()
    return numbers if bool(values.isfinite().all()) else map(finite, numbers)


def _without(unknown: Tensor, made: Iterable[Made], instead: Made) -> Iterable[Made]:
    """What was made, but for places that are unknown."""
    if not bool(unknown.any()):
        return made
    flags = unknown.flatten().tolist()
    return (instead if gone else each for gone, each in zip(flags, made, strict=True))
