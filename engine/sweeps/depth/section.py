"""The sections of a report about what methods found by depth."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from engine.sweeps.depth.means import ByDepth, DepthMeans
from engine.sweeps.reads import depth_read
from engine.sweeps.section import Section
from engine.sweeps.statistics import Curve, Interval
from engine.sweeps.words import counted, shortened
from engine.tables import Table, figures_table

MOST_REASONS = 5


def depth_section(found: ByDepth, rows: Sequence[int]) -> Section:
    """The section of one method; tables have columns for so many rows, or layers."""
    read = depth_read(found.method)
    replaced = any(each.against for each in found.means)
    notes = [*_unread(found)]
    if not math.isnan(found.worst):
        notes.append(f"worst proof: {found.worst:.2g} of what is allowed")
    return Section(
        read.title,
        read.words,
        tuple(
            table
            for by in dict.fromkeys(each.by for each in found.means)
            for table in _tables(
                [each for each in found.means if each.by == by], rows, read.is_share, replaced
            )
        ),
        found.method if found.means else None,
        tuple(notes),
    )


def _tables(
    means: Sequence[DepthMeans], rows: Sequence[int], is_share: bool, replaced: bool
) -> tuple[Table, Table]:
    names = dict.fromkeys(name for each in means for name in each.numbers)
    numbers = figures_table(
        ("group", *(["shown"] if replaced else []), "of", "number", "mean, 95 %", "n"),
        tuple(
            (*_whose(each, replaced), name, _mean(interval), f"{interval.n:,}")
            for each in means
            for name in names
            if (interval := each.numbers.get(name)) is not None and interval.n
        ),
    )
    wide = max(len(curve.value) for each in means for curve in each.curves.values())
    shown = sorted({min(row, wide - 1) for row in rows})
    by = means[0].by
    curves = figures_table(
        (
            "group",
            *(["shown"] if replaced else []),
            "of",
            "curve",
            *(f"{by} {place}" for place in shown),
            "largest, 95 %",
            f"at {by}",
            "n",
        ),
        tuple(
            (
                *_whose(each, replaced),
                name,
                *(_value(float(curve.value[place]), is_share) for place in shown),
                *_largest(curve, is_share),
            )
            for each in means
            for name, curve in each.curves.items()
            if curve.n.any()
        ),
    )
    return numbers, curves


def _whose(each: DepthMeans, replaced: bool) -> tuple[str, ...]:
    return (each.group, *([each.against or "the picture"] if replaced else []), each.of)


def _largest(curve: Curve, is_share: bool) -> tuple[str, str, str]:
    """The mean that is farthest from 0 with its interval, where it is, and of how many items."""
    sizes = np.abs(curve.value)
    if np.isnan(sizes).all():
        return "-", "-", f"{int(curve.n.max()):,}"
    place = int(np.nanargmax(sizes))
    low, high = (_value(float(edge[place]), is_share) for edge in (curve.low, curve.high))
    shown = f"{_value(float(curve.value[place]), is_share)} [{low}, {high}]"
    return shown, str(place), f"{int(curve.n[place]):,}"


def _mean(interval: Interval) -> str:
    low, high = _value(interval.low, False), _value(interval.high, False)
    return f"{_value(interval.value, False)} [{low}, {high}]"


def _value(value: float, is_share: bool) -> str:
    if math.isnan(value):
        return "-"
    return f"{value:.1%}" if is_share else f"{value:+.2f}"


def _unread(found: ByDepth) -> list[str]:
    if not found.unread:
        return []
    lines = sum(found.unread.values())
    reasons = [f"{shortened(reason)} ({count:,})" for reason, count in found.unread.items()]
    more = f"; {len(reasons) - MOST_REASONS} more reasons" if len(reasons) > MOST_REASONS else ""
    some = "; ".join(reasons[:MOST_REASONS]) + more
    return [f"not read of {lines:,} of {counted(found.lines, 'line')}: {some}"]
