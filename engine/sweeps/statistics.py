"""Confidence intervals and tests for a sweep's findings, with NumPy.

Questions about one picture are not independent: pictures are resampled, together with all their
questions (cluster bootstrap; Davison and Hinkley 1997, section 3.8), and intervals are percentiles.
Paired differences are tested by flipping their signs (Fisher's randomisation test).

A share that stands alone has Wilson's interval, which does not shrink to nothing where all items
are right or all are wrong, for as many independent items as its variance between pictures is worth
(Franco et al. 2019, doi 10.1093/jssam/smy019).
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SAMPLES = 1000
FLIPS = 10_000
"""How many patterns of signs a test draws."""
LEVEL = 0.95
_NORMAL = 1.959963984540054
"""The quantile of the normal distribution for `LEVEL`."""
_KEPT = 20_000_000
"""Up to so many weights are kept as float64, as they are multiplied; more are kept as uint16."""
_CHUNK = 100
"""How many samples are computed at a time."""


class Interval(NamedTuple):
    """A value, its 95 % interval, and the number of items; NaN where it is undefined."""

    value: float
    low: float
    high: float
    n: int


class Curve(NamedTuple):
    """Values with their intervals and numbers of items, one for every row: [rows] each."""

    value: Floats
    low: Floats
    high: Floats
    n: Ints


class PairedTest(NamedTuple):
    """A difference between two measurements of the same pictures."""

    difference: Interval
    p: float
    """Two-sided p value of the hypothesis that there is no difference."""


class Bootstrap:
    """Resampled pictures: the same samples for every number, so that differences are paired."""

    def __init__(
        self, clusters: Ints, samples: int = SAMPLES, seed: int = 0, count: int | None = None
    ) -> None:
        """`clusters` [n] is the number, from 0, of each item's picture; `count` is the number of
        pictures, of which some may have no item."""
        self._clusters = np.asarray(clusters)
        highest = int(self._clusters.max()) + 1 if len(self._clusters) else 0
        self._count = highest if count is None else count
        self._samples = samples
        rng = np.random.default_rng(seed)
        few = samples * self._count <= _KEPT
        self._weights = np.zeros((samples, self._count), np.float64 if few else np.uint16)
        for row in self._weights:
            drawn = rng.integers(self._count, size=self._count)
            row[:] = np.bincount(drawn, minlength=self._count)

    def mean(self, values: ArrayLike) -> Curve:
        """Mean of values [n, rows] over the items, without NaN, and its interval: [rows] each."""
        sums, counts = self._sums(values)
        with np.errstate(invalid="ignore", divide="ignore"):
            value = sums.sum(0) / counts.sum(0)
        low, high = _bounds(self._ratios(sums, counts))
        return Curve(value, low, high, counts.sum(0).astype(np.int64))

    def means(self, values: ArrayLike) -> Floats:
        """Means of values [n, rows] in every sample: [samples, rows]."""
        return self._ratios(*self._sums(values))

    def mean_of(self, values: ArrayLike) -> Interval:
        """Mean of values [n], without NaN, and its interval."""
        curve = self.mean(np.asarray(values, dtype=np.float64)[:, None])
        return Interval(
            float(curve.value[0]), float(curve.low[0]), float(curve.high[0]), int(curve.n[0])
        )

    def ratio(self, over: ArrayLike, under: ArrayLike) -> Curve:
        """The sum of `over` [n, rows] divided by that of `under` [n, rows], over the items that
        have both, and its interval: [rows] each; undefined where the latter is 0."""
        both = np.stack(np.broadcast_arrays(over, under)).astype(np.float64)
        both[:, np.isnan(both).any(0)] = np.nan
        (first, counts), (second, _) = map(self._sums, both)
        with np.errstate(invalid="ignore", divide="ignore"):
            value = _finite(first.sum(0) / second.sum(0))
        low, high = _bounds(_finite(self._ratios(first, second)))
        return Curve(value, low, high, counts.sum(0).astype(np.int64))

    def share_of(self, values: ArrayLike, draws: int = 1) -> Interval:
        """Mean of shares [n] from 0 to 1, without NaN, each of which was counted in so many draws,
        and Wilson's interval for the number of independent draws that it is worth."""
        sums, counts = (
            each[:, 0] for each in self._sums(np.asarray(values, dtype=np.float64)[:, None])
        )
        asked = counts > 0
        if not asked.any():
            return Interval(np.nan, np.nan, np.nan, 0)
        share = float(sums.sum() / counts.sum())
        low, high = wilson(share, _worth(sums[asked], counts[asked], draws))
        return Interval(share, low, high, int(counts.sum()))

    def median_of(self, values: ArrayLike) -> Interval:
        """Lower median, always an observed value, of whole numbers [n] without NaN, and its
        interval."""
        wanted = np.asarray(values, dtype=np.float64)
        known = ~np.isnan(wanted)
        if not known.any():
            return Interval(np.nan, np.nan, np.nan, 0)
        levels = np.unique(wanted[known])
        at_level = wanted[:, None] == levels
        per_cluster = np.zeros((self._count, len(levels)))
        np.add.at(per_cluster, self._clusters, at_level)
        samples = np.concatenate([w @ per_cluster for w in self._chunks()])
        medians = levels[_median_index(samples)]
        medians = np.where(samples.sum(1) > 0, medians, np.nan)
        value = levels[_median_index(per_cluster.sum(0, keepdims=True))][0]
        low, high = _bounds(medians[:, None])
        return Interval(float(value), float(low[0]), float(high[0]), int(known.sum()))

    @property
    def of_pictures(self) -> Bootstrap:
        """The same samples, for numbers [pictures] that belong to pictures instead of items."""
        same = copy.copy(self)
        same._clusters = np.arange(self._count)
        return same

    def by_cluster(self, values: ArrayLike) -> Floats:
        """Mean of values [n] over the items of each picture: [pictures], NaN where it has none."""
        sums, counts = self._sums(np.asarray(values, dtype=np.float64)[:, None])
        with np.errstate(invalid="ignore", divide="ignore"):
            return (sums / counts)[:, 0]

    def _ratios(self, sums: Floats, counts: Floats) -> Floats:
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.concatenate([(w @ sums) / (w @ counts) for w in self._chunks()])

    def _sums(self, values: ArrayLike) -> tuple[Floats, Floats]:
        wanted = np.asarray(values, dtype=np.float64)
        known = ~np.isnan(wanted)
        sums = np.zeros((self._count, wanted.shape[1]))
        counts = np.zeros_like(sums)
        np.add.at(sums, self._clusters, np.where(known, wanted, 0.0))
        np.add.at(counts, self._clusters, known)
        return sums, counts

    def _chunks(self) -> Iterator[Floats]:
        for start in range(0, self._samples, _CHUNK):
            yield self._weights[start : start + _CHUNK].astype(np.float64, copy=False)


def sign_flip_test(differences: ArrayLike, samples: int = FLIPS, seed: int = 0) -> float:
    """Two-sided p value for paired differences: the share of sign patterns whose mean is at least
    as far from 0 as the observed one, of all patterns up to 12 differences, else of a sample."""
    wanted = np.asarray(differences, dtype=np.float64)
    wanted = wanted[~np.isnan(wanted)]
    if not len(wanted):
        return float("nan")
    observed = abs(wanted.sum()) * (1 - 1e-12)
    if len(wanted) <= 12:
        patterns = (np.arange(2 ** len(wanted))[:, None] >> np.arange(len(wanted)) & 1) * 2 - 1
        return float((np.abs(patterns @ wanted) >= observed).mean())
    rng = np.random.default_rng(seed)
    beyond = 0
    for start in range(0, samples, _CHUNK):
        size = min(_CHUNK, samples - start)
        signs = rng.integers(0, 2, size=(size, len(wanted)), dtype=np.int8) * 2.0 - 1.0
        beyond += int((np.abs(signs @ wanted) >= observed).sum())
    return (beyond + 1) / (samples + 1)


def holm(p_values: ArrayLike) -> Floats:
    """p values [n] after Holm's (1979) correction for multiple comparisons."""
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    corrected = np.empty_like(p)
    highest = 0.0
    for rank, index in enumerate(order):
        highest = max(highest, float(p[index]) * (len(p) - rank))
        corrected[index] = min(1.0, highest)
    return corrected


def wilson(share: float, n: float) -> tuple[float, float]:
    """Wilson's (1927) score interval of a share that was found in n independent trials."""
    z = _NORMAL
    middle = share + z * z / (2 * n)
    half = z * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    low, high = float((middle - half) / scale), float((middle + half) / scale)
    return low if share > 0 else 0.0, high if share < 1 else 1.0  # not what rounding leaves of it


def _worth(sums: Floats, counts: Floats, draws: int) -> float:
    """As how many independent trials a share is worth, from the sums and numbers of items of each
    picture: all draws divided by the design effect, which is the variance between pictures divided
    by that of independent draws. At most all draws. One for a picture where all are right, or all
    wrong: nothing varies, so questions about a picture may depend on one another entirely."""
    share, pictures, total = sums.sum() / counts.sum(), len(sums), counts.sum()
    spread, most = share * (1 - share), float(total * draws)
    if pictures < 2 or spread <= 0:
        return float(pictures)
    apart = sums - share * counts
    variance = pictures / (pictures - 1) * (apart**2).sum() / total**2
    return float(most / max(1.0, variance * (most - 1) / spread))


def _finite(values: Floats) -> Floats:
    return np.where(np.isfinite(values), values, np.nan)


def bounds(samples: ArrayLike) -> tuple[float, float]:
    """The interval of one number from its samples [samples], without NaN."""
    low, high = _bounds(np.asarray(samples, dtype=np.float64)[:, None])
    return float(low[0]), float(high[0])


def _bounds(samples: Floats) -> tuple[Floats, Floats]:
    """Lower and upper bounds [rows] of samples [samples, rows]; NaN where no sample is defined."""
    edges = ((1 - LEVEL) / 2, (1 + LEVEL) / 2)
    found = np.full((2, samples.shape[1]), np.nan)
    undefined = np.isnan(samples)
    whole = ~undefined.any(0)
    if whole.any():
        found[:, whole] = np.quantile(samples[:, whole], edges, axis=0)
    for column in np.flatnonzero(~whole & ~undefined.all(0)):
        known = samples[~undefined[:, column], column]
        found[:, column] = np.quantile(known, edges)
    return found[0], found[1]


def _median_index(counts: Floats) -> Ints:
    """The level of the lower median, from counts [samples, levels]: [samples]."""
    reached = counts.cumsum(1) * 2 >= counts.sum(1, keepdims=True)
    return np.asarray(reached.argmax(1), dtype=np.int64)
