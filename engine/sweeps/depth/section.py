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
FEWEST = 3
MORE_BESIDE = 3
"""For how many layers fewer there are columns than in other tables, whose other columns are
narrower."""


def depth_section(found: ByDepth, rows: int) -> Section:
    """The section of one method, on a page on which other tables have columns for so many rows."""
    read, most = depth_read(found.method), max(rows - MORE_BESIDE, FEWEST)
    notes = [*_unread(found)]
    if not math.isnan(found.worst):
        notes.append(f"worst proof: {found.worst:.2g} of what is allowed")
    kinds = dict.fromkeys((each.of, each.by) for each in found.means)
    tables = [
        _table([each for each in found.means if (each.of, each.by) == kind], most, read.is_share)
        for kind in kinds
    ]
    notes += _left_out(found.means, most)
    return Section(
        read.title, read.words, tuple(tables), found.method if tables else None, tuple(notes)
    )


def _table(means: Sequence[DepthMeans], most: int, is_share: bool) -> Table:
    replaced = any(each.against for each in means)
    shown = _places(_wide(means), most)
    is_summed = any(name in each.numbers for each in means for name in each.curves)
    heads = (
        "group",
        *(["shown"] if replaced else []),
        means[0].of,
        *(f"{means[0].by} {place}" for place in shown),
        "in all, 95 %" if is_summed else "largest, 95 %",
        "n",
    )
    lines: list[tuple[str, ...]] = []
    for each in means:
        whose = (each.group, *([each.against or "the picture"] if replaced else []))
        for name, curve in each.curves.items():
            cells = (value_text(float(curve.value[place]), is_share) for place in shown)
            whole = each.numbers.get(name)
            last = _largest(curve, is_share) if whole is None else _mean(whole)
            lines.append((*whose, name, *cells, *last))
        for name, interval in each.numbers.items():
            if name not in each.curves and interval.n:
                lines.append((*whose, name, *("" for _ in shown), *_mean(interval)))
    return figures_table(heads, tuple(lines), names=3 if replaced else 2)


def _wide(means: Sequence[DepthMeans]) -> int:
    """For how many layers or rows curves have a value."""
    return max((len(curve.value) for each in means for curve in each.curves.values()), default=0)


def _places(count: int, most: int) -> list[int]:
    """Of so many layers or rows, those that have columns."""
    return sorted({round(place) for place in np.linspace(0, count - 1, min(count, most))})


def _left_out(means: Sequence[DepthMeans], most: int) -> list[str]:
    count = _wide(means)
    if count <= most:
        return []
    return [
        f"{most} of {count} {means[0].by}s; a wider page has more, the exported numbers have all"
    ]


def _largest(curve: Curve, is_share: bool) -> tuple[str, str]:
    """The mean that is farthest from 0, with its interval, and of how many items it is."""
    sizes = np.abs(curve.value)
    if np.isnan(sizes).all():
        return "-", "0"
    place = int(np.nanargmax(sizes))
    value, low, high = (value_text(float(each[place]), is_share) for each in curve[:3])
    return f"{value} [{low}, {high}] at {place}", f"{int(curve.n[place]):,}"


def _mean(interval: Interval) -> tuple[str, str]:
    value, low, high = (value_text(each, False) for each in interval[:3])
    return f"{value} [{low}, {high}]", f"{interval.n:,}"


def value_text(value: float | None, is_share: bool) -> str:
    """A value as reports show it. A share may be negative or above 1."""
    if value is None or math.isnan(value):
        return "-"
    return f"{value:z.1%}" if is_share else f"{value:+.2f}"


def _unread(found: ByDepth) -> list[str]:
    if not found.unread:
        return []
    lines = sum(found.unread.values())
    reasons = [f"{shortened(reason)} ({count:,})" for reason, count in found.unread.items()]
    more = f"; {len(reasons) - MOST_REASONS} more reasons" if len(reasons) > MOST_REASONS else ""
    some = "; ".join(reasons[:MOST_REASONS]) + more
    return [f"not read of {lines:,} of {counted(found.lines, 'line')}: {some}"]
