"""The curves of a report's sections, as findings hold them, without saying how they look.

The explorer draws them in cells; `engine.sweeps.figures` draws the figures of a written report.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from engine.sweeps.depth.means import ByDepth
from engine.sweeps.findings import ALL, Findings, Measure
from engine.sweeps.reads import depth_read
from engine.sweeps.results import Floats
from engine.sweeps.words import counted

MOST_GROUPS = 8
MOST_PANELS = 4
MOST_COLUMNS = 6
"""Of what attention is compared between."""
_NORM = " without the final norm"


@dataclass(frozen=True)
class Line:
    """One curve."""

    name: str
    """From the data: untrusted."""
    values: Floats
    """[rows or layers]: NaN where a value is not known."""


@dataclass(frozen=True)
class Chart:
    """Curves over the same rows or layers."""

    title: str
    by: str
    """What is counted across: "row", from 0 for the embedding, or "layer"."""
    lines: tuple[Line, ...]
    is_share: bool = False
    """Whether values are shares, shown in per cent."""
    is_stepped: bool = False
    """Whether a value holds until the next row."""
    left_out: str = ""
    """What is not drawn although the tables have it."""

    @property
    def places(self) -> int:
        """For how many rows or layers there are values."""
        return max((len(line.values) for line in self.lines), default=0)


def charts_of(findings: Findings) -> Mapping[str, tuple[Chart, ...]]:
    """The charts of every section that has some, by the name of its figure."""
    found = {
        "accuracy": tuple(_by_group(findings, "accuracy", "right", is_share=True)),
        "formation": (formed_by_row(findings),),
        "certainty": tuple(_certainty(findings)),
        "instead": tuple(_instead(findings)),
        "looks": tuple(_looks(findings)),
        "scripts": _scripts(findings),
        **{each.method: tuple(_by_depth(each)) for each in findings.by_depth},
    }
    return {
        name: drawn
        for name, charts in found.items()
        if (drawn := tuple(each for each in charts if _has_values(each)))
    }


def formed_by_row(findings: Findings) -> Chart:
    """The share of every group's items whose answer is formed in a row or before it."""
    named = {each.group: each for each in findings.formations}
    return Chart(
        "formed (the final answer stays top-1 from this row or an earlier one)",
        "row",
        tuple(
            Line(f"{name}: mean {named[name].mean.value:.1f}", np.cumsum(named[name].distribution))
            for name in _groups(findings)
        ),
        is_share=True,
        is_stepped=True,
        left_out=_other_groups(findings),
    )


def _has_values(chart: Chart) -> bool:
    return any(not np.isnan(line.values).all() for line in chart.lines)


def _groups(findings: Findings) -> list[str]:
    return list(findings.results.groups)[:MOST_GROUPS]


def _other_groups(findings: Findings) -> str:
    return _not_drawn(len(findings.results.groups) - MOST_GROUPS, "group")


def _not_drawn(count: int, noun: str) -> str:
    return f"not drawn: {counted(count, noun)}, which the tables have" if count > 0 else ""


def _by_group(
    findings: Findings, measure: Measure, title: str, *, is_share: bool = False
) -> Iterator[Chart]:
    """With the final norm, and without it where that is known."""
    for normed in (True, False):
        curves = {name: findings.curve(name, measure, normed) for name in _groups(findings)}
        yield Chart(
            title if normed else title + _NORM,
            "row",
            tuple(Line(name, curve.value) for name, curve in curves.items() if curve is not None),
            is_share,
            left_out=_other_groups(findings),
        )


def _certainty(findings: Findings) -> Iterator[Chart]:
    """With the final norm only, as in the figure."""
    measures: tuple[Measure, ...] = ("top-1 probability", "entropy", "KL to last")
    for measure in measures:
        is_share = measure == "top-1 probability"
        title = measure if is_share else f"{measure}, nats"
        yield next(_by_group(findings, measure, title, is_share=is_share))


def _instead(findings: Findings) -> Iterator[Chart]:
    known = [each for each in findings.instead if not np.isnan(each.truth.value).all()]
    for group, left_out in _panels(each.group for each in known):
        shown = [each for each in known if each.group == group]
        yield Chart(
            f"probability of the truth: {group}",
            "row",
            (
                Line("the picture", shown[0].truth.value),
                *(Line(each.against, each.truth_without.value) for each in shown),
            ),
            is_share=True,
            left_out=left_out,
        )


def _looks(findings: Findings) -> Iterator[Chart]:
    looks = findings.looks
    if looks is None:
        return
    left_out = _not_drawn(len(looks.of) - MOST_COLUMNS, "counterfactual")
    sides = [("attention", looks, "raw"), ("attention, sinks taken out", looks, "without_sinks")]
    if looks.on_states is not None:
        sides.append(("attention on states", looks.on_states, "raw"))
    for title, of, field in sides:
        for each in of.of[:MOST_COLUMNS]:
            curves = getattr(each, field)
            lines = tuple(Line(kind, curve.value) for kind, curve in curves.items())
            yield Chart(f"{title}: {each.which}", "layer", lines, True, left_out=left_out)


def _scripts(findings: Findings) -> tuple[Chart, ...]:
    lines = tuple(Line(name, curve.value) for name, curve in findings.scripts.items())
    return (Chart("script of the top-1 token", "row", lines, is_share=True),)


def _by_depth(found: ByDepth) -> Iterator[Chart]:
    is_share = depth_read(found.method).is_share
    own = [each for each in found.means if not each.against]
    for group, left_out in _panels(each.group for each in own):
        for each in own:
            if each.group == group:
                lines = tuple(Line(name, curve.value) for name, curve in each.curves.items())
                yield Chart(f"{each.of}: {group}", each.by, lines, is_share, left_out=left_out)


def _panels(names: Iterable[str]) -> list[tuple[str, str]]:
    """The groups that have charts, all groups together first, each with what is said below it of
    those that have none."""
    groups = sorted(dict.fromkeys(names), key=lambda name: name != ALL)
    left_out = _not_drawn(len(groups) - MOST_PANELS, "group")
    return [(name, left_out) for name in groups[:MOST_PANELS]]
