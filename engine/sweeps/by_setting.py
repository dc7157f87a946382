"""How right whole answers are with each setting of decoding, beside greedy decoding."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from engine.sweeps.decoded import Decoded
from engine.sweeps.results import Bools, Floats, Results
from engine.sweeps.statistics import Bootstrap, Curve, Interval


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
    """Wilson's interval; NaN where no truth is known, like the next three."""
    apart: Interval
    """How much more often than with greedy decoding, of the same items; NaN for that."""
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
    results: Results, groups: Mapping[str, Bools], bootstrap: Bootstrap
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
                found += _of_group(group, against, decoded, first, asked, bootstrap)
    return tuple(found)


def _of_group(
    group: str, against: str, decoded: Decoded, first: Floats, asked: Bools, bootstrap: Bootstrap
) -> list[BySetting]:
    def only(values: Floats) -> Floats:
        return np.where(asked[:, None], values, np.nan)

    right, matched, ended = map(only, (decoded.right, decoded.matched, decoded.ended))
    first_token = bootstrap.share_of(np.where(np.isnan(right[:, 0]), np.nan, first))
    apart = bootstrap.mean(right - right[:, :1])
    soft = bootstrap.mean(only(decoded.soft))
    tokens = bootstrap.mean(only(decoded.tokens))
    yes_or_no = _yes_or_no(decoded, asked, bootstrap)
    return [
        BySetting(
            group=group,
            against=against,
            setting=setting,
            draws=draws,
            right=bootstrap.share_of(right[:, place], draws),
            apart=_at(apart, place) if place else Interval(np.nan, np.nan, np.nan, 0),
            matched=bootstrap.share_of(matched[:, place], draws),
            first_token=first_token,
            soft=_at(soft, place),
            ended=bootstrap.share_of(ended[:, place], draws),
            tokens=_at(tokens, place),
            yes_or_no=yes_or_no[place] if yes_or_no else None,
        )
        for place, (setting, draws) in enumerate(zip(decoded.settings, decoded.draws, strict=True))
    ]


def _yes_or_no(decoded: Decoded, asked: Bools, bootstrap: Bootstrap) -> list[YesOrNo]:
    """One for each setting; none where no such question was asked."""
    is_yes = np.where(asked, decoded.is_yes, np.nan)[:, None]
    if np.isnan(is_yes).all():
        return []
    said, rightly, right, matched = (
        np.where(np.isnan(is_yes), np.nan, each)
        for each in (decoded.said_yes, decoded.said_yes_rightly, decoded.right, decoded.matched)
    )
    precision, recall = bootstrap.ratio(rightly, said), bootstrap.ratio(rightly, is_yes)
    f1 = bootstrap.ratio(2 * rightly, said + is_yes)
    true = bootstrap.share_of(is_yes[:, 0])
    return [
        YesOrNo(
            accuracy=bootstrap.share_of(right[:, place], draws),
            precision=_at(precision, place),
            recall=_at(recall, place),
            f1=_at(f1, place),
            said_yes=bootstrap.share_of(said[:, place], draws),
            is_yes=true,
            neither=bootstrap.share_of(1 - matched[:, place], draws),
        )
        for place, draws in enumerate(decoded.draws)
    ]


def _at(curve: Curve, place: int) -> Interval:
    value, low, high, n = (part.tolist()[place] for part in curve)
    return Interval(value, low, high, n)
