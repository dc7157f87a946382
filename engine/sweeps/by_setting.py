"""How right whole answers are with each setting of decoding, beside greedy decoding."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from engine.sweeps.decoded import Decoded
from engine.sweeps.results import Bools, Floats, Results
from engine.sweeps.statistics import FLIPS, Bootstrap, Interval, holm, sign_flip_test

MOST_FLIPS = 20_000_000
"""Signs that one test draws at most."""


@dataclass(frozen=True)
class YesOrNo:
    """The questions of a group whose truth is yes or no. Yes is what is looked for, as in POPE (Li
    et al. 2023, arXiv 2305.10355); an answer that says neither is wrong, and is not a yes."""

    accuracy: Interval
    precision: Interval
    """Which share of those that say yes is right."""
    recall: Interval
    """To which share of those where yes is true it says yes."""
    f1: Interval
    said_yes: Interval
    is_yes: Interval
    """How often yes is true."""
    neither: Interval


@dataclass(frozen=True)
class BySetting:
    """The answers to one group's items with one setting. Shares are means over draws and items."""

    group: str
    against: str
    """What stood in the place of the picture; empty for the picture itself."""
    setting: str
    draws: int
    right: Interval
    """Wilson's interval; NaN where no truth is known, like the next four."""
    apart: Interval
    """How much more often than with greedy decoding, of the same items; NaN for that."""
    p: float
    """Of the hypothesis that there is no difference, corrected by Holm's method for all settings."""
    matched: Interval
    """How often it says any of the answers that it is compared with."""
    first_token: Interval
    """How often the first token of the model's own output is right, of the same items."""
    soft: Interval
    """By what ten people answered; NaN if the data does not have that."""
    ended: Interval
    tokens: Interval
    yes_or_no: YesOrNo | None
    """None for a group without such questions."""


def by_setting(
    results: Results, groups: Mapping[str, Bools], bootstrap: Bootstrap, seed: int = 0
) -> tuple[BySetting, ...]:
    """All settings of every group, with the picture and then with each counterfactual."""
    found: list[BySetting] = []
    sides = [("", results.rows, results.decoded)]
    sides += [(name, each.rows, each.decoded) for name, each in results.instead.items()]
    for against, rows, decoded in sides:
        if decoded is None:
            continue
        first = results.right(rows)[:, -1]
        for group, chosen in groups.items():
            asked = chosen & ~np.isnan(decoded.tokens[:, 0])
            if asked.any():
                some = _of_group(decoded, first, asked, bootstrap, seed)
                found += [replace(each, group=group, against=against) for each in some]
    return tuple(found)


def _of_group(
    decoded: Decoded, first: Floats, chosen: Bools, bootstrap: Bootstrap, seed: int
) -> tuple[BySetting, ...]:
    def only(values: Floats) -> Floats:
        return np.where(chosen, values, np.nan)

    greedy = decoded.right[:, 0]
    first_token = bootstrap.share_of(np.where(np.isnan(greedy), np.nan, only(first)))
    found: list[BySetting] = []
    for place, setting in enumerate(decoded.settings):
        draws = decoded.draws[place]
        right = only(decoded.right[:, place])
        apart, p = Interval(np.nan, np.nan, np.nan, 0), np.nan
        if place:
            differences = right - greedy
            apart = bootstrap.mean_of(differences)
            by_picture = bootstrap.by_cluster(differences)
            flips = min(FLIPS, max(1000, MOST_FLIPS // max(1, len(by_picture))))
            p = sign_flip_test(by_picture, flips, seed)
        found.append(
            BySetting(
                group="",
                against="",
                setting=setting,
                draws=draws,
                right=bootstrap.share_of(right, draws),
                apart=apart,
                p=p,
                matched=bootstrap.share_of(only(decoded.matched[:, place]), draws),
                first_token=first_token,
                soft=bootstrap.mean_of(only(decoded.soft[:, place])),
                ended=bootstrap.share_of(only(decoded.ended[:, place]), draws),
                tokens=bootstrap.mean_of(only(decoded.tokens[:, place])),
                yes_or_no=_yes_or_no(decoded, place, chosen, bootstrap),
            )
        )
    return tuple(_corrected(found))


def _corrected(found: list[BySetting]) -> Iterator[BySetting]:
    known = [each.p for each in found if not np.isnan(each.p)]
    corrected = iter(holm(known).tolist())
    for each in found:
        yield each if np.isnan(each.p) else replace(each, p=next(corrected))


def _yes_or_no(decoded: Decoded, place: int, chosen: Bools, bootstrap: Bootstrap) -> YesOrNo | None:
    draws = decoded.draws[place]
    is_yes = np.where(chosen, decoded.is_yes, np.nan)
    if np.isnan(is_yes).all():
        return None
    asked = ~np.isnan(is_yes)
    said, rightly, right, matched = (
        np.where(asked, each[:, place], np.nan)
        for each in (decoded.said_yes, decoded.said_yes_rightly, decoded.right, decoded.matched)
    )
    return YesOrNo(
        accuracy=bootstrap.share_of(right, draws),
        precision=bootstrap.ratio_of(rightly, said),
        recall=bootstrap.ratio_of(rightly, is_yes),
        f1=bootstrap.ratio_of(2 * rightly, said + is_yes),
        said_yes=bootstrap.share_of(said, draws),
        is_yes=bootstrap.share_of(is_yes),
        neither=bootstrap.share_of(1 - matched, draws),
    )
