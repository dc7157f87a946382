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


def test_pictures_without_items_are_drawn_too() -> None:
    """Three pictures, of which the last has no item: some samples draw nothing else."""
    three = Bootstrap(np.array([0, 1]), samples=3000, count=3)
    values = np.array([[1.0], [3.0]])
    samples = three.means(values)[:, 0]
    assert samples.shape == (3000,)
    # Of 27 draws of three of three, 1 has no item; the means of the others can be counted.
    assert np.isnan(samples).mean() == pytest.approx(1 / 27, abs=0.01)
    shares = {mean: float((samples == mean).mean()) for mean in (1.0, 2.0, 3.0)}
    assert shares == pytest.approx({1.0: 7 / 27, 2.0: 6 / 27, 3.0: 7 / 27}, abs=0.03)
    found = three.mean_of(values[:, 0])
    assert (found.value, found.low, found.high, found.n) == (2.0, 1.0, 3.0, 2)


def test_many_weights_are_kept_small_and_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    values, clusters = RNG.normal(size=(60, 2)), np.arange(60) // 3
    few = Bootstrap(clusters, samples=250, seed=3)
    monkeypatch.setattr("engine.sweeps.statistics._KEPT", 250 * 20 - 1)
    many = Bootstrap(clusters, samples=250, seed=3)
    assert few._weights.dtype == np.float64 and many._weights.dtype == np.uint16
    assert few.means(values).shape == (250, 2)
    assert np.array_equal(few.means(values), many.means(values))
    assert few.median_of(np.round(values[:, 0])) == many.median_of(np.round(values[:, 0]))


def test_the_seed_decides_the_samples() -> None:
    values = RNG.normal(size=40)
    one, same, other = (Bootstrap(np.arange(40), 200, seed).mean_of(values) for seed in (1, 1, 2))
    assert one == same and (one.low, one.high) != (other.low, other.high)
    flips = [sign_flip_test(values, 300, seed) for seed in range(6)]
    assert flips[1] == sign_flip_test(values, 300, 1) and len(set(flips)) > 1


def test_numbers_of_pictures_use_the_samples_of_their_items() -> None:
    clusters = np.array([0, 0, 1, 2, 2, 2])
    items = Bootstrap(clusters, samples=200, count=4)
    values = np.array([1.0, 3.0, np.nan, 6.0, 6.0, 9.0])
    per_picture = items.by_cluster(values)
    assert per_picture.tolist()[:1] == [2.0] and per_picture[2] == 7.0
    assert np.isnan(per_picture[[1, 3]]).all()
    pictures = items.of_pictures
    assert pictures.mean_of(per_picture)[::3] == (4.5, 2)
    counts = items.means(np.ones((6, 1)))
    assert np.nanmax(counts) == np.nanmin(counts) == 1.0
    # Where every picture has one item, the two are the same.
    single = Bootstrap(np.arange(5), samples=200)
    numbers = RNG.normal(size=5)
    assert single.of_pictures.mean_of(numbers) == single.mean_of(numbers)


def test_the_median_leaves_nan_out_and_counts_every_item() -> None:
    clusters = np.array([0, 0, 0, 1, 2, 3])
    values = np.array([5.0, 5.0, np.nan, 1.0, 2.0, np.nan])
    found = Bootstrap(clusters, samples=500).median_of(values)
    assert (found.value, found.n) == (2.0, 4)  # of 1, 2, 5, 5
    assert (found.low, found.high) == (1.0, 5.0)
    nothing = Bootstrap(np.arange(2), samples=20).median_of([np.nan, np.nan])
    assert np.isnan(nothing[:3]).all() and nothing.n == 0
    # A sample that draws no known item says nothing, instead of the lowest.
    clusters = np.array([0, 1, 2, 2, 2])
    rare = Bootstrap(clusters, samples=500).median_of([np.nan, np.nan, 1.0, 9.0, 9.0])
    assert rare == (9.0, 9.0, 9.0, 3)


def test_medians_of_the_samples_by_hand() -> None:
    """Of two pictures drawn twice, a quarter of the samples are of either alone."""
    found = Bootstrap(np.array([0, 1, 1]), samples=4000).median_of([0.0, 4.0, 8.0])
    assert (found.value, found.low, found.high) == (4.0, 0.0, 4.0)


def test_bounds_are_of_each_row_and_95_percent() -> None:
    values = RNG.normal(size=(50, 3))
    values[:, 1] = np.nan
    boot = Bootstrap(np.arange(50), samples=301)
    curve, samples = boot.mean(values), boot.means(values)
    for row in (0, 2):
        wanted = np.quantile(samples[:, row], [0.025, 0.975])
        assert (curve.low[row], curve.high[row]) == pytest.approx(tuple(wanted))
    assert np.isnan([curve.low[1], curve.high[1], curve.value[1]]).all()
    assert curve.n.tolist() == [50, 0, 50] and curve.n.dtype == np.int64
    assert Bootstrap(np.array([], dtype=np.int64), samples=5).mean(np.zeros((0, 1))).n.tolist() == [
        0
    ]


@pytest.mark.parametrize("count", [1, 2, 11, 12])
def test_up_to_twelve_differences_all_patterns_count(count: int) -> None:
    assert sign_flip_test(np.ones(count)) == 2 / 2**count
    assert sign_flip_test([*np.ones(count), np.nan]) == 2 / 2**count


def test_of_more_differences_patterns_are_drawn() -> None:
    ones = np.ones(13)
    for samples in (1, 150, 1000):
        # All of one sign are never drawn in so few; the observed pattern itself counts.
        assert sign_flip_test(ones, samples=samples) <= 2 / (samples + 1)
    assert sign_flip_test(np.ones(40), samples=99) == 1 / 100
    assert sign_flip_test(-np.ones(40), samples=99) == 1 / 100
    assert sign_flip_test([1.0, -1.0] * 20, samples=99) == 1.0
    # Where nothing differs, every pattern is as far from 0.
    assert sign_flip_test(np.zeros(20), samples=150) == sign_flip_test(np.zeros(5)) == 1.0


def test_a_p_value_is_holms_where_it_is_tied_or_beyond_1() -> None:
    assert holm([0.5]).tolist() == [0.5]
    assert holm([0.01, 0.01, 0.6]).tolist() == pytest.approx([0.03, 0.03, 0.6])
    assert holm([0.03, 0.001, 0.02, 0.2]).tolist() == pytest.approx([0.06, 0.004, 0.06, 0.2])


# Shares


@given(st.integers(1, 60), st.integers(0, 60))
def test_a_share_of_independent_items_has_scipys_wilson_interval(n: int, right: int) -> None:
    right = min(right, n)
    values = np.array([1.0] * right + [0.0] * (n - right))
    found = Bootstrap(np.arange(n), samples=2).share_of(values)
    wanted = stats.binomtest(right, n).proportion_ci(method="wilson")
    assert found.value == pytest.approx(right / n) and found.n == n
    assert found.low == pytest.approx(wanted.low, abs=1e-9)
    assert found.high == pytest.approx(wanted.high, abs=1e-9)


def test_items_of_one_picture_that_are_alike_are_worth_one() -> None:
    pictures = np.array([1.0] * 12 + [0.0] * 8)
    alone = Bootstrap(np.arange(20), samples=2).share_of(pictures)
    six = Bootstrap(np.repeat(np.arange(20), 6), samples=2).share_of(np.repeat(pictures, 6))
    assert (six.low, six.high) == pytest.approx((alone.low, alone.high), abs=0.01)
    assert six.n == 120
    for value in (0.0, 1.0):
        few = Bootstrap(np.repeat(np.arange(5), 6), samples=2).share_of(np.full(30, value))
        wanted = stats.binomtest(int(5 * value), 5).proportion_ci(method="wilson")
        assert (few.low, few.high) == pytest.approx((wanted.low, wanted.high))
    one = Bootstrap(np.zeros(9, dtype=int), samples=2).share_of([1.0] * 6 + [0.0] * 3)
    assert one.high - one.low > 0.7


def test_shares_of_clustered_items_are_in_their_intervals() -> None:
    inside = 0
    for seed in range(300):
        rng = np.random.default_rng(seed)
        chances = rng.beta(1.6, 0.4, size=40)  # 0.8 on average, with questions that are alike
        values = rng.random((40, 6)) < chances[:, None]
        found = Bootstrap(np.repeat(np.arange(40), 6), samples=2).share_of(values.flatten())
        inside += found.low <= 0.8 <= found.high
    assert 0.91 <= inside / 300 <= 0.99


def test_draws_make_a_share_more_certain_as_far_as_they_differ() -> None:
    rng = np.random.default_rng(3)
    chances = rng.choice([0.2, 0.8], size=200)
    one = Bootstrap(np.arange(200), samples=2).share_of(rng.random(200) < chances)
    means = (rng.random((200, 50)) < chances[:, None]).mean(1)
    many = Bootstrap(np.arange(200), samples=2).share_of(means, 50)
    assert many.high - many.low < 0.7 * (one.high - one.low)
    fixed = Bootstrap(np.arange(200), samples=2).share_of((chances > 0.5).astype(float), 50)
    assert fixed.high - fixed.low == pytest.approx(one.high - one.low, rel=0.1)


def test_a_ratio_of_sums_by_hand() -> None:
    over = np.array([[1.0], [0.0], [2.0], [np.nan], [5.0]])
    under = np.array([[1.0], [2.0], [1.0], [1.0], [np.nan]])
    found = Bootstrap(np.array([0, 0, 1, 1, 2]), samples=500).ratio(over, under)
    assert found.value.tolist() == [pytest.approx(3 / 4)] and found.n.tolist() == [3]
    assert found.low[0] == pytest.approx(1 / 3) and found.high[0] == pytest.approx(2.0)
    nothing = Bootstrap(np.arange(2), samples=5).ratio([[0.0], [0.0]], [[0.0], [0.0]])
    assert np.isnan(nothing.value).all() and np.isnan(nothing.low).all()
