"""Where the heads look, layer by layer: on text, on the picture, or on tokens without content.

Special tokens are the first one of the sequence, those with massive activations (sinks), and what
lies on no token at all. Much of the weight is on them, so how much of it the picture has depends on
whether they count: every share is given with them and with the sinks taken out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from engine.sweeps.results import Attention, Bools, Floats, Results
from engine.sweeps.statistics import Bootstrap, Curve, Interval

PICTURE: Final = "picture"
FIRST: Final = "first"
NOWHERE: Final = "nowhere"
"""The weight on learned sinks, which lies on no token."""
TEXT: Final = "text"
SPECIAL: Final = "special tokens"
EVERYTHING: Final = "all items"
RIGHT: Final = "right answers"
WRONG: Final = "wrong answers"


_Subject = tuple[str, Attention, Bools]
"""Which lines, their attention, and [n] whether they count."""


@dataclass(frozen=True)
class Looking:
    """Where some items' heads look: means over heads and items, [layers] each."""

    which: str
    """EVERYTHING, RIGHT, WRONG, or the counterfactual that they have instead of the picture."""
    raw: Mapping[str, Curve]
    """On TEXT, PICTURE and SPECIAL tokens: what lies on sinks counts as on these."""
    without_sinks: Mapping[str, Curve]
    """Sinks are taken out, and the rest is scaled to sum to 1."""
    groups: Mapping[str, Curve]
    """The raw shares of all groups of tokens, and of no token."""
    groups_without_sinks: Mapping[str, Curve]
    sinks: Interval
    """How many tokens have massive activations."""
    worst: float
    """The largest error of a proof, as a share of its tolerance."""


@dataclass(frozen=True)
class Unread:
    """A layer that has no shares in all or some of the lines whose attention was read."""

    lines: int
    """How many lines lack it, with the picture or with something else instead."""
    of: int
    reason: str
    """Why the first of them does."""


@dataclass(frozen=True)
class Looks:
    """Where the heads look, of all items, and of some of them."""

    of: tuple[Looking, ...]
    layers: tuple[int, ...]
    """The layers with such attention, whether it was read or not, ascending."""
    unread: Mapping[int, Unread]
    """By layer, ascending."""
    on_states: Looks | None = None
    """The same on the states of an encoder or of a vision tower: all else is on the tokens of the
    sequence. None if no layer looks at such states."""


def where_it_looks(results: Results, bootstrap: Bootstrap) -> Looks | None:
    """All items, right and wrong answers apart, and the items with each counterfactual; None if
    attention was not read."""
    subjects = list(_subjects(results))
    on_tokens = _looks(subjects, bootstrap)
    on_states = _looks(
        [
            (which, attention.states, chosen)
            for which, attention, chosen in subjects
            if attention.states is not None
        ],
        bootstrap,
    )
    return None if on_tokens is None else replace(on_tokens, on_states=on_states)


def _looks(subjects: Sequence[_Subject], bootstrap: Bootstrap) -> Looks | None:
    found = [
        _looking(which, attention, chosen, bootstrap)
        for which, attention, chosen in subjects
        if chosen.any()
    ]
    if not found:
        return None
    # Right and wrong answers are among all items.
    read = [attention for which, attention, _ in subjects if which not in (RIGHT, WRONG)]
    layers = frozenset[int]().union(*(attention.layers for attention in read))
    return Looks(tuple(found), tuple(sorted(layers)), _unread(read))


def _unread(read: Iterable[Attention]) -> dict[int, Unread]:
    lacking: Counter[int] = Counter()
    reasons: dict[int, str] = {}
    lines = 0
    for attention in read:
        known = ~np.isnan(attention.sinks)
        missing = known[:, None] & np.isnan(attention.shares).all(-1)
        lacking.update(dict(enumerate(missing.sum(0).tolist())))
        lines += int(known.sum())
        for layer, reason in attention.reasons.items():
            reasons.setdefault(layer, reason)
    return {
        layer: Unread(lacking[layer], lines, reason)
        for layer, reason in sorted(reasons.items())
        if lacking[layer]
    }


def _subjects(results: Results) -> Iterator[_Subject]:
    own = results.attention
    if own is not None:
        known = ~np.isnan(own.sinks)
        right = results.right(results.rows)[:, -1]
        yield EVERYTHING, own, known
        yield RIGHT, own, known & (right == 1)
        yield WRONG, own, known & (right == 0)
    for name, instead in results.instead.items():
        if instead.attention is not None:
            yield name, instead.attention, ~np.isnan(instead.attention.sinks)


def _looking(which: str, attention: Attention, chosen: Bools, bootstrap: Bootstrap) -> Looking:
    groups = attention.groups
    is_picture = np.array([name == PICTURE for name in groups])
    is_first = np.array([name == FIRST for name in groups])
    is_text = ~is_picture & ~is_first
    on_tokens, on_sinks = attention.shares[..., :-1], attention.on_sinks
    content = on_tokens - on_sinks
    without = attention.without_sinks
    raw: dict[str, Floats] = {
        TEXT: content[..., is_text].sum(-1),
        PICTURE: content[..., is_picture].sum(-1),
        SPECIAL: (
            on_tokens[..., is_first].sum(-1)
            + on_sinks[..., ~is_first].sum(-1)
            + attention.shares[..., -1]
        ),
    }
    taken_out: dict[str, Floats] = {
        TEXT: without[..., is_text].sum(-1),
        PICTURE: without[..., is_picture].sum(-1),
        SPECIAL: without[..., is_first].sum(-1),
    }
    each_group = {name: attention.shares[..., i] for i, name in enumerate((*groups, NOWHERE))}
    each_without = {name: without[..., i] for i, name in enumerate(groups)}
    proofs = attention.proofs[chosen]
    return Looking(
        which=which,
        raw=_curves(raw, chosen, bootstrap),
        without_sinks=_curves(taken_out, chosen, bootstrap),
        groups=_curves(each_group, chosen, bootstrap),
        groups_without_sinks=_curves(each_without, chosen, bootstrap),
        sinks=bootstrap.mean_of(np.where(chosen, attention.sinks, np.nan)),
        worst=float(np.nanmax(proofs)) if not np.isnan(proofs).all() else float("nan"),
    )


def _curves(values: Mapping[str, Floats], chosen: Bools, bootstrap: Bootstrap) -> dict[str, Curve]:
    """The mean of each [n, layers] over the chosen items."""
    return {
        name: bootstrap.mean(np.where(chosen[:, None], each, np.nan))
        for name, each in values.items()
    }
