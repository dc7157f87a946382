"""Compares two sets of results: two models, or renders and photographs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.sweeps.findings import (
    ALL,
    entry_layers,
    formation_layers,
    peaks_of,
    share_of_norm,
)
from engine.sweeps.results import Bools, Floats, Results
from engine.sweeps.statistics import SAMPLES, Bootstrap, Interval, bounds


@dataclass(frozen=True)
class Difference:
    """One measure of one group in both sets, and its difference."""

    group: str
    measure: str
    one: Interval
    other: Interval
    difference: Interval
    """`one` minus `other`."""


@dataclass(frozen=True)
class SweepComparison:
    """All differences between two sets of results."""

    one: Results
    other: Results
    shared_pictures: int
    """How many pictures both sets have; if there are any, only these are compared, and they are
    resampled together."""
    differences: tuple[Difference, ...]


def compare_sweeps(
    one: Results, other: Results, top_k: int, samples: int = SAMPLES, seed: int = 0
) -> SweepComparison:
    """Compare groups of the same name, and all groups together.

    Where both have pictures in common, only these are compared: otherwise a difference between the
    pictures would count as one between the results.
    """
    shared = {*one.digests} & {*other.digests}
    if shared:
        one, other = one.only(shared), other.only(shared)
    places = {digest: index for index, digest in enumerate(dict.fromkeys(one.digests))}
    for digest in other.digests:
        places.setdefault(digest, len(places))
    sides = []
    for results in (one, other):
        index = np.array([places[digest] for digest in results.digests])[results.picture]
        sides.append(_Side(results, Bootstrap(index, samples, seed, len(places)), top_k))
    common = [group for group in one.groups if group in other.groups]
    groups = [*common, *([ALL] if len(common) != 1 else [])]
    found: list[Difference] = []
    for group in groups:
        first, second = (side.measures(group) for side in sides)
        for measure in first:
            a, b = first[measure], second[measure]
            if np.isnan(a.interval.value) or np.isnan(b.interval.value):
                continue
            low, high = bounds(a.samples - b.samples)
            n = min(a.interval.n, b.interval.n)
            apart = Interval(a.interval.value - b.interval.value, low, high, n)
            found.append(Difference(group, measure, a.interval, b.interval, apart))
    return SweepComparison(one, other, len(shared), tuple(found))


@dataclass(frozen=True)
class _Measured:
    interval: Interval
    samples: Floats


class _Side:
    def __init__(self, results: Results, bootstrap: Bootstrap, top_k: int) -> None:
        self._results = results
        self._bootstrap = bootstrap
        rows, layers = results.rows, max(1, results.layers)
        self._values: dict[str, Floats] = {
            "accuracy in the last row": results.right(rows)[:, -1],
            # As a share of the layers, so that models of different depth can be compared.
            "formation, share of depth": formation_layers(rows.final_rank) / layers,
            f"entry into the top {top_k}, share of depth": (
                entry_layers(rows.final_rank, top_k) / layers
            ),
            "top-1 probability in the last row": rows.top_probability[:, -1],
            "top-1 probability in the middle row": rows.top_probability[:, layers // 2],
            "entropy in the last row": rows.entropy[:, -1],
            "entropy in the middle row": rows.entropy[:, layers // 2],
            "KL to last in the middle row": rows.kl_to_last[:, layers // 2],
            "accuracy of whole greedy answers": np.full(len(results.items), np.nan)
            if results.decoded is None
            else results.decoded.right[:, 0],
        }

    def measures(self, group: str) -> dict[str, _Measured]:
        chosen = self._chosen(group)
        found = {name: self._mean(values, chosen) for name, values in self._values.items()}
        found["peak of top-1 probability, share of depth"] = self._peak(chosen)
        found["share of the last drop made by the missing norm"] = self._share(chosen)
        return found

    def _chosen(self, group: str) -> Bools:
        if group == ALL:
            return np.ones(len(self._results.items), dtype=bool)
        return self._results.in_group(group)

    def _mean(self, values: Floats, chosen: Bools) -> _Measured:
        wanted = np.where(chosen, values, np.nan)
        return _Measured(
            self._bootstrap.mean_of(wanted), self._bootstrap.means(wanted[:, None])[:, 0]
        )

    def _peak(self, chosen: Bools) -> _Measured:
        rows = self._results.rows.top_probability[:, 1:]
        wanted = np.where(chosen[:, None], rows, np.nan)
        value = float(peaks_of(self._bootstrap.mean(wanted).value[None])[0]) + 1
        samples = peaks_of(self._bootstrap.means(wanted)) + 1
        depth = max(1, self._results.layers)
        low, high = bounds(samples / depth)
        return _Measured(Interval(value / depth, low, high, int(chosen.sum())), samples / depth)

    def _share(self, chosen: Bools) -> _Measured:
        bare, rows = self._results.unnormed, self._results.rows
        nothing = _Measured(Interval(np.nan, np.nan, np.nan, 0), np.full(1, np.nan))
        if bare is None:
            return nothing
        falls = [
            each[:, -2] - each[:, -1] for each in (rows.final_probability, bare.final_probability)
        ]
        both = chosen & ~np.isnan(falls[0]) & ~np.isnan(falls[1])
        drops = np.stack([np.where(both, each, np.nan) for each in falls], 1)
        means, samples = self._bootstrap.mean(drops).value, self._bootstrap.means(drops)
        share, _ = share_of_norm(float(means[0]), float(means[1]), samples)
        with np.errstate(invalid="ignore", divide="ignore"):
            shares = np.where(samples[:, 1] > 0, 1 - samples[:, 0] / samples[:, 1], np.nan)
        return _Measured(share._replace(n=int(chosen.sum())), shares)
