"""Intervals and tests against SciPy and cases worked by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from engine.sweeps.statistics import Bootstrap, bounds, holm, sign_flip_test

RNG = np.random.default_rng(7)


def test_the_interval_of_a_mean_is_scipys() -> None:
    values = RNG.exponential(size=300)
    found = Bootstrap(np.arange(300), samples=4000).mean_of(values)
    wanted = stats.bootstrap(
        (values,), np.mean, n_resamples=4000, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    assert found.value == pytest.approx(values.mean())
    assert found.n == 300
    assert found.low == pytest.approx(wanted.low, abs=0.02)
    assert found.high == pytest.approx(wanted.high, abs=0.02)


def test_items_of_one_picture_are_drawn_together() -> None:
    """Ten items that are the same are no ten samples: as wide as of the pictures alone."""
    values = RNG.normal(size=80)
    alone = Bootstrap(np.arange(80), samples=2000).mean_of(values)
    repeated = Bootstrap(np.repeat(np.arange(80), 10), samples=2000).mean_of(np.repeat(values, 10))
    assert (repeated.low, repeated.high) == pytest.approx((alone.low, alone.high))
    naive = Bootstrap(np.arange(800), samples=2000).mean_of(np.repeat(values, 10))
    assert naive.high - naive.low < 0.5 * (alone.high - alone.low)


def test_intervals_hold_what_they_say() -> None:
    inside = 0
    for seed in range(200):
        values = np.random.default_rng(seed).normal(1.0, 2.0, size=60)
        found = Bootstrap(np.arange(60), samples=400, seed=seed).mean_of(values)
        inside += found.low <= 1.0 <= found.high
    assert 0.88 <= inside / 200 <= 0.99


@given(
    arrays(np.float64, st.tuples(st.integers(1, 12), st.integers(1, 3)),
           elements=st.floats(-5, 5) | st.just(np.nan))
)  # fmt: skip
def test_means_leave_nan_out(values: np.ndarray) -> None:
    curve = Bootstrap(np.arange(len(values)) // 2, samples=50).mean(values)
    for column in range(values.shape[1]):
        known = values[~np.isnan(values[:, column]), column]
        assert curve.n[column] == len(known)
        if len(known):
            assert curve.value[column] == pytest.approx(known.mean())
            assert curve.low[column] <= curve.high[column]
            assert known.min() - 1e-9 <= curve.low[column]
            assert curve.high[column] <= known.max() + 1e-9
        else:
            assert np.isnan([curve.value[column], curve.low[column], curve.high[column]]).all()


@given(st.lists(st.integers(0, 9), min_size=1, max_size=30))
def test_the_median_is_the_lower_one(values: list[int]) -> None:
    found = Bootstrap(np.arange(len(values)), samples=30).median_of(np.array(values, float))
    assert found.value == sorted(values)[(len(values) - 1) // 2]
    assert min(values) <= found.low <= found.high <= max(values)


def test_sign_flips_are_scipys_permutations() -> None:
    few = np.array([1.0, 2.0, -0.5, 3.0, 0.7, 1.1, -0.2, 2.2])
    wanted = stats.permutation_test(
        (few,), np.mean, permutation_type="samples", n_resamples=np.inf, alternative="two-sided"
    ).pvalue
    assert sign_flip_test(few) == pytest.approx(wanted)
    many = RNG.normal(0.15, 1, size=150)
    sampled = stats.permutation_test(
        (many,), np.mean, permutation_type="samples", n_resamples=20_000, rng=RNG
    ).pvalue
    assert sign_flip_test(many, samples=20_000) == pytest.approx(sampled, abs=0.01)
    assert sign_flip_test(np.array([])) != sign_flip_test(np.array([]))  # undefined
    assert sign_flip_test(np.zeros(20)) == 1.0


def test_no_difference_is_rarely_found() -> None:
    found = [
        sign_flip_test(np.random.default_rng(seed).normal(size=40), samples=300)
        for seed in range(200)
    ]
    assert 0.01 <= float(np.mean(np.array(found) < 0.05)) <= 0.1


def test_holms_correction() -> None:
    # Worked by hand: 0.01 * 4, 0.02 * 3, max(0.03 * 2, 0.06), 0.5 * 1.
    assert holm([0.02, 0.5, 0.01, 0.03]).tolist() == pytest.approx([0.06, 0.5, 0.04, 0.06])
    assert holm([0.9, 0.8]).tolist() == [1.0, 1.0]
    assert holm([]).tolist() == []


def test_bounds_leave_undefined_samples_out() -> None:
    low, high = bounds(np.array([np.nan, *range(101)]))
    assert (low, high) == pytest.approx((2.5, 97.5))
    assert np.isnan(bounds(np.array([np.nan, np.nan]))).all()
