"""Means of what methods found by depth, over the items of each group, with their intervals."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.sweeps.depth.arrays import Depth
from engine.sweeps.reads import depth_read
from engine.sweeps.results import Bools, Floats, Results
from engine.sweeps.statistics import Bootstrap, Curve, Interval

_VARIED = re.compile(r"\d[\d.e+-]*|'[^']*'")


@dataclass(frozen=True)
class DepthMeans:
    """One thing that one method was asked about, of one group's items."""

    group: str
    against: str
    """What stood in the place of the picture; empty for the picture itself."""
    of: str
    by: str
    """Whether curves are by "layer" or by "row"."""
    numbers: Mapping[str, Interval]
    curves: Mapping[str, Curve]


@dataclass(frozen=True)
class ByDepth:
    """What one method found."""

    method: str
    means: tuple[DepthMeans, ...]
    unread: Mapping[str, int]
    """Reason -> of how many lines nothing could be read for it, the most frequent first. Reasons
    that differ in numbers and quoted words are one, in the words of the first."""
    lines: int
    """How many lines were tried."""
    worst: float
    """The largest error of a proof, as a share of its tolerance; NaN for none."""


def by_depth_of(
    results: Results, groups: Mapping[str, Bools], bootstrap: Bootstrap
) -> tuple[ByDepth, ...]:
    """Every method's, with the picture and then with each counterfactual."""
    sides = [("", results.depth)]
    sides += [(name, each.depth) for name, each in results.instead.items()]
    methods = dict.fromkeys(method for _, of in sides for method in of)
    found = []
    for method in methods:
        some = [(against, of[method]) for against, of in sides if method in of]
        means = [
            each
            for against, depth in some
            for group, chosen in groups.items()
            for each in _of_group(method, group, against, depth, chosen, bootstrap)
        ]
        unread = _counted([reason for _, depth in some for reason in depth.reasons if reason])
        proofs = np.concatenate([depth.proofs for _, depth in some])
        worst = float(np.nanmax(proofs)) if not np.isnan(proofs).all() else float("nan")
        lines = sum(int(depth.read.sum()) for _, depth in some) + sum(unread.values())
        found.append(ByDepth(method, tuple(means), unread, lines, worst))
    return tuple(found)


def _counted(reasons: Sequence[str]) -> dict[str, int]:
    first: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for reason in reasons:
        counts[first.setdefault(_VARIED.sub("", reason), reason)] += 1
    return dict(counts.most_common())


def _of_group(
    method: str, group: str, against: str, depth: Depth, chosen: Bools, bootstrap: Bootstrap
) -> list[DepthMeans]:
    weight = depth_read(method).weight
    found = []
    for about, curves in depth.curves.items():
        numbers = depth.numbers[about]
        if not any((~np.isnan(each[chosen])).any() for each in curves.values()):
            continue
        means = {name: bootstrap.mean_of(_only(each, chosen)) for name, each in numbers.items()}
        # Of differences of both signs the sum may be next to nothing, and no mean divided by it.
        weights = np.abs(numbers[weight])[:, None] if weight in numbers else None
        found.append(
            DepthMeans(
                group, against, about.of, about.by, means,
                {
                    name: bootstrap.mean(_only(each, chosen))
                    if weights is None
                    else bootstrap.ratio(_only(each, chosen) * weights, weights)
                    for name, each in curves.items()
                },
            )
        )  # fmt: skip
    return found


def _only(values: NDArray[np.float64], chosen: Bools) -> Floats:
    kept = chosen if values.ndim == 1 else chosen[:, None]
    return np.where(kept, values, np.nan)
