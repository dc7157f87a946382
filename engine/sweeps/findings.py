"""Computes what a sweep shows: measures with their intervals and numbers of items.

Terms of every report:

- right: a row's top-1 token is the first token of a spelling of the truth, and begins no other
  answer of the group; a token that begins two answers is ambiguous, and never right.
- formation layer: the first row from which the final answer (top-1 of the last row) stays top-1 to
  the end. Elsewhere it is called the saturation layer.
- entry: the first row in which the final answer is among the top k.
- share of a drop due to the missing norm: 1 - (p[L-1] - p[L] with the norm) /
  (p[L-1] - p[L] without it), of means over items; p[L] is the model's own in both. It is
  undefined where nothing drops without the norm.
- lost: right in some row from row 1 to the second-to-last, and wrong in the last.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from engine.stays import first_that_stays
from engine.sweeps.by_setting import BySetting, by_setting
from engine.sweeps.depth.means import ByDepth, by_depth_of
from engine.sweeps.instead import InsteadOfPicture, instead_of_pictures
from engine.sweeps.looking import Looks, where_it_looks
from engine.sweeps.results import Bools, Floats, Ints, Results, Rows
from engine.sweeps.scripts import script_of
from engine.sweeps.statistics import (
    FLIPS,
    SAMPLES,
    Bootstrap,
    Curve,
    Interval,
    PairedTest,
    bounds,
    holm,
    sign_flip_test,
)

ALL = "all groups"
TOP_K = 3
MOST_ORDERED = 12
"""Of so many groups, those with most items, every pair is compared."""
MOST_ANSWERS = 40
"""For so many answers of a group, confusions are counted row by row."""
MOST_FLIPS = 200_000_000
"""Signs that one test draws at most: with very many pictures it draws fewer patterns."""
Measure = Literal[
    "accuracy", "top-1 probability", "truth probability", "final answer probability",
    "entropy", "KL to last",
]  # fmt: skip


@dataclass(frozen=True)
class RowCurve:
    """One measure of one group in all rows."""

    group: str
    measure: Measure
    normed: bool
    curve: Curve


@dataclass(frozen=True)
class Formation:
    """In which rows the final answers of a group's items are formed."""

    group: str
    layer: Interval
    """Median of the formation layer."""
    mean: Interval
    """Mean of the formation layer."""
    entry: Interval
    """Median of the entry row."""
    distribution: Floats
    """[rows]: the share of items whose formation layer is that row."""


@dataclass(frozen=True)
class Order:
    """Which of two groups forms first, on the pictures that are in both."""

    first: str
    second: str
    test: PairedTest
    """Mean of the second group's formation layer minus the first's."""
    corrected: float
    """The p value after Holm's correction for all pairs of groups."""


@dataclass(frozen=True)
class Peak:
    """The row with the highest mean top-1 probability. Row 0 is left out, since many models repeat
    the current token there."""

    group: str
    normed: bool
    row: int
    low: float
    high: float
    probability: Interval


@dataclass(frozen=True)
class Drop:
    """How far a probability drops from the second-to-last row to the last."""

    group: str
    of: Literal["final answer", "top-1"]
    normed: Interval
    """p[L-1] - p[L] with the final norm."""
    unnormed: Interval
    """p[L-1] - p[L] where row L-1 is read without the final norm."""
    share: Interval
    """The share of the un-normed drop that is due to the missing norm; NaN where nothing drops."""
    defined: float
    """The share of bootstrap samples in which `share` is defined."""


@dataclass(frozen=True)
class Confusion:
    """Which answers are said instead of the true one, in every row."""

    group: str
    answers: tuple[str, ...]
    """The answers that are most often true."""
    counts: Ints
    """[rows, truths, answers + 1]: items per truth and answer said; the last column counts all
    other tokens."""
    pairs: tuple[tuple[str, str, int], ...]
    """Truth, wrong answer and count in the last row, the most frequent first; of all answers."""


@dataclass(frozen=True)
class Lost:
    """Items that are right in an earlier row and wrong in the last."""

    group: str
    share: Interval
    items: tuple[str, ...]


@dataclass(frozen=True)
class Ambiguity:
    """Answers and tokens that cannot be matched exactly."""

    group: str
    share: Interval
    """The share of items whose top-1 token in the last row begins more than one answer."""
    tokens: Mapping[str, tuple[str, ...]]
    """From the text of such a token to the answers that it begins."""
    several_tokens: tuple[str, ...]
    """Answers of more than one token, of which only the first is compared."""


@dataclass(frozen=True)
class Findings:
    """Everything that a report tells about one sweep."""

    results: Results
    top_k: int
    curves: tuple[RowCurve, ...]
    formations: tuple[Formation, ...]
    orders: tuple[Order, ...]
    peaks: tuple[Peak, ...]
    drops: tuple[Drop, ...]
    confusions: tuple[Confusion, ...]
    lost: tuple[Lost, ...]
    ambiguities: tuple[Ambiguity, ...]
    scripts: Mapping[str, Curve]
    """The share of top-1 tokens in each script, the most common script first."""
    instead: tuple[InsteadOfPicture, ...] = ()
    looks: Looks | None = None
    """Where the heads look, if that was read."""
    by_setting: tuple[BySetting, ...] = ()
    """How right whole answers are, if they were decoded."""
    by_depth: tuple[ByDepth, ...] = ()
    """What methods found by depth, each that was read."""

    def greedy(self, group: str) -> BySetting | None:
        """The greedy answers of a group's items with their pictures."""
        found = (each for each in self.by_setting if (each.group, each.against) == (group, ""))
        return next(found, None)

    def curve(self, group: str, measure: Measure, normed: bool = True) -> Curve | None:
        """The curve of a measure of a group; None where there is none."""
        for each in self.curves:
            if (each.group, each.measure, each.normed) == (group, measure, normed):
                return each.curve
        return None


def find(results: Results, top_k: int = TOP_K, samples: int = SAMPLES, seed: int = 0) -> Findings:
    """Compute all findings; the same seed gives the same intervals."""
    bootstrap = Bootstrap(results.picture, samples, seed)
    groups = _chosen(results)
    formed = formation_layers(results.rows.final_rank)
    return Findings(
        results=results,
        top_k=top_k,
        curves=_curves(results, groups, bootstrap),
        formations=_formations(results, groups, bootstrap, formed, top_k),
        orders=_orders(results, bootstrap, formed, seed),
        peaks=_peaks(results, groups, bootstrap),
        drops=_drops(results, groups, bootstrap),
        confusions=tuple(_confusion(results, group) for group in results.shown_answers),
        lost=_lost(results, groups, bootstrap),
        ambiguities=_ambiguities(results, bootstrap),
        scripts=_scripts(results, bootstrap),
        instead=instead_of_pictures(results, groups, bootstrap),
        looks=where_it_looks(results, bootstrap),
        by_setting=by_setting(results, groups, bootstrap),
        by_depth=by_depth_of(results, groups, bootstrap),
    )


def formation_layers(final_rank: Ints) -> Floats:
    """The formation layer [n] from the final answer's ranks [n, rows]; NaN where the last row's
    logits are not numbers."""
    formed = [first_that_stays(holds) for holds in (final_rank == 1).tolist()]
    return np.array([np.nan if row is None else row for row in formed], dtype=np.float64)


def entry_layers(rank: Ints, top_k: int) -> Floats:
    """The first row [n] in which a token is among the top k, from ranks [n, rows]; NaN for none."""
    inside = (rank >= 1) & (rank <= top_k)
    return np.where(inside.any(1), inside.argmax(1), np.nan)


def _chosen(results: Results) -> dict[str, Bools]:
    """From each group to its items [n], and from all groups together where there are several."""
    groups = {group: results.in_group(group) for group in results.groups}
    if len(groups) > 1:
        groups[ALL] = np.ones(len(results.items), dtype=bool)
    return groups


def _both(results: Results) -> list[tuple[bool, Rows]]:
    return [
        (True, results.rows),
        *([(False, results.unnormed)] if results.unnormed is not None else []),
    ]


def _only(values: NDArray[np.generic], chosen: Bools) -> Floats:
    """The values of the chosen items, NaN for the others, so that pictures keep their numbers."""
    found = np.array(values, dtype=np.float64)
    found[~chosen] = np.nan
    return found


def _curves(
    results: Results, groups: Mapping[str, Bools], bootstrap: Bootstrap
) -> tuple[RowCurve, ...]:
    found: list[RowCurve] = []
    for normed, rows in _both(results):
        measures: dict[Measure, Floats] = {
            "accuracy": results.right(rows),
            "truth probability": rows.truth_probability,
            "top-1 probability": rows.top_probability,
            "final answer probability": rows.final_probability,
            "entropy": rows.entropy,
            "KL to last": rows.kl_to_last,
        }
        together = np.concatenate(list(measures.values()), axis=1)
        for group, chosen in groups.items():
            curves = bootstrap.mean(_only(together, chosen))
            for place, measure in enumerate(measures):
                part = slice(place * (results.layers + 1), (place + 1) * (results.layers + 1))
                value, low, high, n = curves
                curve = Curve(value[part], low[part], high[part], n[part])
                if curve.n.any():
                    found.append(RowCurve(group, measure, normed, curve))
    return tuple(found)


def _formations(
    results: Results,
    groups: Mapping[str, Bools],
    bootstrap: Bootstrap,
    formed: Floats,
    top_k: int,
) -> tuple[Formation, ...]:
    entered = entry_layers(results.rows.final_rank, top_k)
    rows = np.arange(results.layers + 1)
    found = [
        Formation(
            group,
            bootstrap.median_of(_only(formed, chosen)),
            bootstrap.mean_of(_only(formed, chosen)),
            bootstrap.median_of(_only(entered, chosen)),
            (formed[chosen][:, None] == rows).mean(0),
        )
        for group, chosen in groups.items()
    ]
    alone = [each for each in found if each.group != ALL]
    return (*sorted(alone, key=lambda each: each.mean.value), *found[len(alone) :])


def _orders(results: Results, bootstrap: Bootstrap, formed: Floats, seed: int) -> tuple[Order, ...]:
    counts = {group: int(results.in_group(group).sum()) for group in results.groups}
    largest = sorted(counts, key=lambda group: -counts[group])[:MOST_ORDERED]
    by_picture = {
        group: bootstrap.by_cluster(_only(formed, results.in_group(group)))
        for group in results.groups
        if group in largest
    }
    flips = min(FLIPS, max(1000, MOST_FLIPS // max(1, len(results.digests))))
    found: list[Order] = []
    for one, other in combinations(by_picture, 2):
        apart = by_picture[other] - by_picture[one]
        if np.isnan(apart).all():
            continue
        first, second = one, other
        if np.nanmean(apart) < 0:
            first, second, apart = other, one, -apart
        mean = bootstrap.of_pictures.mean_of(apart)
        test = PairedTest(mean, sign_flip_test(apart, flips, seed))
        found.append(Order(first, second, test, test.p))
    corrected = holm([order.test.p for order in found])
    return tuple(
        Order(order.first, order.second, order.test, float(p))
        for order, p in zip(found, corrected, strict=True)
    )


def _peaks(results: Results, groups: Mapping[str, Bools], bootstrap: Bootstrap) -> tuple[Peak, ...]:
    found: list[Peak] = []
    for normed, rows in _both(results):
        for group, chosen in groups.items():
            values = _only(rows.top_probability, chosen)[:, 1:]
            curve = bootstrap.mean(values)
            if np.isnan(curve.value).all():
                continue
            row = int(np.nanargmax(curve.value))
            low, high = bounds(peaks_of(bootstrap.means(values)) + 1)
            probability = Interval(
                float(curve.value[row]), float(curve.low[row]), float(curve.high[row]),
                int(curve.n[row]),
            )  # fmt: skip
            found.append(Peak(group, normed, row + 1, low, high, probability))
    return tuple(found)


def _drops(results: Results, groups: Mapping[str, Bools], bootstrap: Bootstrap) -> tuple[Drop, ...]:
    bare = results.unnormed
    if bare is None or results.layers < 1:
        return ()
    rows = results.rows
    found: list[Drop] = []
    of: dict[Literal["final answer", "top-1"], tuple[Floats, Floats]] = {
        "final answer": (rows.final_probability, bare.final_probability),
        "top-1": (rows.top_probability, bare.top_probability),
    }
    for group, chosen in groups.items():
        for name, (normed, unnormed) in of.items():
            falls = [each[:, -2] - each[:, -1] for each in (normed, unnormed)]
            # The same items in both: a row without the norm may overflow.
            both = chosen & ~np.isnan(falls[0]) & ~np.isnan(falls[1])
            pairs = [_only(each, both) for each in falls]
            means = bootstrap.means(np.stack(pairs, 1))
            drops = [bootstrap.mean_of(each) for each in pairs]
            share, defined = share_of_norm(drops[0].value, drops[1].value, means)
            found.append(
                Drop(group, name, drops[0], drops[1], share._replace(n=drops[1].n), defined)
            )
    return tuple(found)


def peaks_of(means: Floats) -> Floats:
    """The row of the maximum [samples] of each sample [samples, rows]; NaN where all are NaN."""
    known = ~np.isnan(means).all(1)
    found = np.argmax(np.where(np.isnan(means), -np.inf, means), 1).astype(np.float64)
    return np.where(known, found, np.nan)


def share_of_norm(normed: float, unnormed: float, samples: Floats) -> tuple[Interval, float]:
    """1 - normed / unnormed with its interval, from samples [samples, 2] of both drops, and the
    share of samples in which it is defined. NaN where the un-normed drop is not positive."""
    drops = samples[:, 1] > 0
    if not unnormed > 0 or not drops.any():
        return Interval(np.nan, np.nan, np.nan, 0), float(drops.mean())
    low, high = bounds(1 - samples[drops, 0] / samples[drops, 1])
    return Interval(1 - normed / unnormed, low, high, 0), float(drops.mean())


def _confusion(results: Results, group: str) -> Confusion:
    owner = results.answers[group].of_token
    chosen = np.flatnonzero(results.in_group(group)).tolist()
    truths = Counter(truth for index in chosen if (truth := results.truth[index]) is not None)
    names = tuple(sorted(name for name, _ in truths.most_common(MOST_ANSWERS)))
    place = {name: index for index, name in enumerate(names)}
    column = {token: place.get(answer, len(names)) for token, answer in owner.items()}
    counts = np.zeros((results.layers + 1, len(names), len(names) + 1), dtype=np.int64)
    pairs: Counter[tuple[str, str]] = Counter()
    rows = np.arange(results.layers + 1)
    for index in chosen:
        truth = results.truth[index]
        if truth is None:
            continue
        ids = results.rows.top_id[index].tolist()
        if truth in place:
            counts[rows, place[truth], [column.get(token, len(names)) for token in ids]] += 1
        said = owner.get(ids[-1], truth)
        if said != truth:
            pairs[truth, said] += 1
    wrong = tuple((truth, said, count) for (truth, said), count in pairs.most_common())
    return Confusion(group, names, counts, wrong)


def _lost(results: Results, groups: Mapping[str, Bools], bootstrap: Bootstrap) -> tuple[Lost, ...]:
    right = results.right(results.rows)
    known = ~np.isnan(right[:, -1])
    lost = np.where(known, (right[:, 1:-1] == 1).any(1) & (right[:, -1] == 0), np.nan)
    return tuple(
        Lost(
            group,
            bootstrap.mean_of(_only(lost, chosen)),
            tuple(results.items[index] for index in np.flatnonzero((lost == 1) & chosen)),
        )
        for group, chosen in groups.items()
        if (known & chosen).any()
    )


def _ambiguities(results: Results, bootstrap: Bootstrap) -> tuple[Ambiguity, ...]:
    last = results.ambiguous(results.rows)[:, -1]
    return tuple(
        Ambiguity(
            group,
            bootstrap.mean_of(_only(last, results.in_group(group))),
            {
                results.texts.get(token, f"#{token}"): names
                for token, names in answers.shared.items()
            },
            answers.several_tokens,
        )
        for group, answers in results.shown_answers.items()
    )


def _scripts(results: Results, bootstrap: Bootstrap) -> dict[str, Curve]:
    ids = results.rows.top_id
    script = {token: script_of(text) for token, text in results.texts.items()}
    names = sorted({script[token] for token in np.unique(ids).tolist() if token in script})
    curves: dict[str, Curve] = {}
    for name in names:
        written_so = [token for token, each in script.items() if each == name]
        written = np.isin(ids, written_so).astype(np.float64)
        written[ids < 0] = np.nan
        curves[name] = bootstrap.mean(written)
    return dict(sorted(curves.items(), key=lambda each: -float(np.nansum(each[1].value))))
