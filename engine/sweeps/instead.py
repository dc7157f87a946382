"""What a model says without the picture: how often its answer stays the same and how often it is
right, and how probable the truth is in every row, with the picture and without. What is left of
the truth's probability is what language alone suggests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from engine.sweeps.results import Bools, Floats, Results, Rows
from engine.sweeps.statistics import Bootstrap, Curve, Interval


@dataclass(frozen=True)
class InsteadOfPicture:
    """One group's items with one counterfactual, beside the same items with their pictures. Only
    items that have both count."""

    group: str
    against: str
    same: Interval
    """How often the answer, which is the top-1 token of the last row, stays the same."""
    right: Interval
    """How often it is right with the picture; NaN where no truth is known, like all below."""
    right_without: Interval
    right_lost: Interval
    """The first minus the second."""
    truth: Curve
    """The mean probability of the truth in every row, with the picture."""
    truth_without: Curve
    truth_lost: Curve


def instead_of_pictures(
    results: Results, groups: Mapping[str, Bools], bootstrap: Bootstrap
) -> tuple[InsteadOfPicture, ...]:
    """All counterfactuals of every group that has such items."""
    found: list[InsteadOfPicture] = []
    for against, instead in results.instead.items():
        same = _same(results.rows, instead.rows)
        rights = [results.right(rows)[:, -1:] for rows in (results.rows, instead.rows)]
        truths = [rows.truth_probability for rows in (results.rows, instead.rows)]
        asked = np.array([item is not None for item in instead.items])
        for group, chosen in groups.items():
            both = chosen & asked
            if not both.any():
                continue
            right, right_without, right_lost = _compared(rights, both, bootstrap)
            truth, truth_without, truth_lost = _compared(truths, both, bootstrap)
            each = InsteadOfPicture(
                group=group,
                against=against,
                same=bootstrap.mean_of(np.where(both, same, np.nan)),
                right=_only_one(right),
                right_without=_only_one(right_without),
                right_lost=_only_one(right_lost),
                truth=truth,
                truth_without=truth_without,
                truth_lost=truth_lost,
            )
            found.append(each)
    return tuple(found)


def of_the_same_items(
    found: Iterable[InsteadOfPicture],
) -> tuple[tuple[InsteadOfPicture, ...], ...]:
    """The counterfactuals of one group, divided into those that have one curve with the picture to
    be compared with: they were asked about the same items."""
    known: list[list[InsteadOfPicture]] = []
    for each in found:
        some = next((some for some in known if _have_one_curve(some[0], each)), None)
        if some is None:
            known.append([each])
        else:
            some.append(each)
    return tuple(map(tuple, known))


def _have_one_curve(one: InsteadOfPicture, other: InsteadOfPicture) -> bool:
    parts = zip(one.truth, other.truth, strict=True)
    return all(np.array_equal(*both, equal_nan=True) for both in parts)


def _same(rows: Rows, instead: Rows) -> Floats:
    """[n]: 1 where both say the same in the last row, 0 where they do not, NaN where one of them
    says nothing."""
    one, other = rows.top_id[:, -1], instead.top_id[:, -1]
    return np.where((one < 0) | (other < 0), np.nan, one == other)


def _compared(
    values: list[Floats], chosen: Bools, bootstrap: Bootstrap
) -> tuple[Curve, Curve, Curve]:
    """The means of two numbers [n, rows] over the chosen items that have both, and of their
    difference."""
    one, other = values
    known = chosen[:, None] & ~np.isnan(one) & ~np.isnan(other)
    some = [np.where(known, each, np.nan) for each in (one, other, one - other)]
    first, second, difference = (bootstrap.mean(each) for each in some)
    return first, second, difference


def _only_one(curve: Curve) -> Interval:
    value, low, high, n = (part.tolist()[0] for part in curve)
    return Interval(value, low, high, n)
