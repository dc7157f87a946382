"""Draws the figures of a report from its findings (needs matplotlib, an extra)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.errors import BadInput
from engine.sweeps.charts import MOST_COLUMNS, MOST_GROUPS, MOST_PANELS, formed_by_row
from engine.sweeps.depth.means import ByDepth
from engine.sweeps.findings import ALL, Confusion, Findings
from engine.sweeps.instead import of_the_same_items
from engine.sweeps.reads import depth_read
from engine.sweeps.statistics import Curve
from engine.sweeps.words import counted

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = ("svg", "png")
# Okabe and Ito (2008): colour-blind readers can tell them apart, and so can readers of prints.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999")
MOST_ANSWERS = 24
LONGEST_NAME = 48
"""Characters in the legend of a figure."""
MOST_REPLACED = 6
"""Counterfactuals in a figure; black is the picture's own."""
LINES = ("-", "--", ":", "-.", (0, (1, 4)), (0, (6, 4)))
"""Of the picture's own curves: one for all counterfactuals that were asked about the same items."""


def draw(findings: Findings, folder: Path, kind: str = "svg") -> dict[str, Path]:
    """Draw all figures into a folder; returns their files by name.

    Raises BadInput without matplotlib, OSError where a file cannot be written.
    """
    try:
        import matplotlib
        from cycler import cycler
    except ImportError:
        raise BadInput("figures need matplotlib: pip install 'lenscope[report]'") from None
    drawn: dict[str, Callable[[Findings], Figure | None]] = {
        "accuracy": _accuracy,
        "settings": _settings,
        "formation": _formation,
        "certainty": _certainty,
        "last-step": _last_step,
        "confusion": _confusions,
        "scripts": _scripts,
        "instead": _instead,
        "looks": _looks,
    }
    for each in findings.by_depth:
        drawn[each.method] = partial(_by_depth, each)
    settings: Any = {
        "svg.hashsalt": "lenscope",
        "font.size": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.prop_cycle": cycler(color=COLOURS),
        # Names of groups and answers are text: no formulas in them.
        "text.parse_math": False,
    }
    found: dict[str, Path] = {}
    with matplotlib.rc_context(settings):
        for name, make in drawn.items():
            figure = make(findings)
            if figure is None:
                continue
            file = folder / f"{name}.{kind}"
            # Without a date, so that the same findings give the same file.
            metadata = {"Date": None} if kind == "svg" else {}
            figure.savefig(file, dpi=150, bbox_inches="tight", metadata=metadata)
            found[name] = file
    return found


def _figure(width: float, height: float, columns: int = 1, **settings: Any) -> tuple[Figure, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(1, columns, squeeze=False, **settings)[0]


def _groups(findings: Findings) -> list[str]:
    return list(findings.results.groups)[:MOST_GROUPS]


def _curves(axes: Axes, findings: Findings, measure: Any, normed: bool, label: bool = True) -> bool:
    """Draw one line per group; returns whether there was one."""
    some = False
    for index, group in enumerate(_groups(findings)):
        curve = findings.curve(group, measure, normed)
        if curve is None:
            continue
        some = True
        rows = np.arange(len(curve.value))
        colour = COLOURS[index % len(COLOURS)]
        axes.plot(
            rows,
            curve.value,
            color=colour,
            linestyle="-" if normed else "--",
            linewidth=1.6 if normed else 1.0,
            label=_short(group) if label else None,
        )
        if normed:
            axes.fill_between(rows, curve.low, curve.high, color=colour, alpha=0.15, linewidth=0)
    axes.set_xlabel("row (0 = embedding)")
    axes.margins(x=0.01)
    return some


def _accuracy(findings: Findings) -> Figure | None:
    figure, (axes,) = _figure(6.4, 3.4)
    if not _curves(axes, findings, "accuracy", normed=True):
        return None
    bare = _curves(axes, findings, "accuracy", normed=False, label=False)
    axes.set_ylabel("right")
    axes.set_ylim(-0.02, 1.02)
    axes.yaxis.set_major_formatter(_percent)
    axes.set_title("Accuracy" + (" (dashed: without the final norm)" if bare else ""), loc="left")
    axes.legend(frameon=False)
    return figure


def _settings(findings: Findings) -> Figure | None:
    known = [each for each in findings.by_setting if not each.against and each.right.n]
    names = list(dict.fromkeys(each.setting for each in known))
    groups = [name for name in _groups(findings) if any(each.group == name for each in known)]
    if not groups:
        return None
    figure, (axes,) = _figure(max(4.0, 1.6 + 0.32 * len(names)), 3.6)
    for index, group in enumerate(groups):
        some = [each for each in known if each.group == group]
        # Beside one another, so that intervals of several groups can be told apart.
        beside = 0.5 * (index - (len(groups) - 1) / 2) / len(groups)
        places = [names.index(each.setting) + beside for each in some]
        colour = COLOURS[index % len(COLOURS)]
        for place, each in zip(places, some, strict=True):
            axes.plot([place, place], [each.right.low, each.right.high], color=colour)
        values = [each.right.value for each in some]
        axes.plot(places, values, "o", color=colour, markersize=4, label=_short(group))
        axes.axhline(values[0], color=colour, linewidth=0.8, linestyle=":")
    axes.set_xticks(range(len(names)), [_short(name) for name in names], rotation=60, ha="right")
    axes.set_ylabel("right")
    axes.set_ylim(-0.02, 1.02)
    axes.yaxis.set_major_formatter(_percent)
    axes.set_title("Whole answers (dotted: greedy)", loc="left")
    axes.legend(frameon=False)
    return figure


def _formation(findings: Findings) -> Figure | None:
    figure, (axes,) = _figure(6.4, 3.0)
    for line, colour in zip(formed_by_row(findings).lines, COLOURS, strict=False):
        axes.step(
            np.arange(len(line.values)),
            line.values,
            where="post",
            color=colour,
            label=_short(line.name, LONGEST_NAME),
        )
    axes.set_xlabel("row from which the final answer stays top-1")
    axes.set_ylabel("formed")
    axes.set_ylim(-0.02, 1.02)
    axes.yaxis.set_major_formatter(_percent)
    axes.set_title("Formation", loc="left")
    axes.legend(frameon=False)
    return figure


def _certainty(findings: Findings) -> Figure | None:
    figure, axes = _figure(9.6, 3.0, columns=3)
    names = ("top-1 probability", "entropy", "KL to last")
    for each, measure in zip(axes, names, strict=True):
        _curves(each, findings, measure, normed=True)
        each.set_title(measure + ("" if measure.startswith("top") else ", nats"), loc="left")
    axes[0].set_ylim(-0.02, 1.02)
    axes[0].legend(frameon=False)
    return figure


def _last_step(findings: Findings) -> Figure | None:
    drops = [each for each in findings.drops if each.group != ALL and each.of == "final answer"]
    drops = drops[:MOST_GROUPS]
    if not drops:
        return None
    figure, (axes,) = _figure(6.4, 0.8 + 0.45 * len(drops))
    for index, each in enumerate(drops):
        for offset, interval, colour in (
            (-0.15, each.normed, COLOURS[0]),
            (0.15, each.unnormed, COLOURS[1]),
        ):
            axes.plot([interval.low, interval.high], [index + offset] * 2, color=colour)
            axes.plot(interval.value, index + offset, "o", color=colour, markersize=4)
    axes.axvline(0, color="#999999", linewidth=0.8)
    axes.set_yticks(range(len(drops)), [_short(each.group) for each in drops])
    axes.set_ylim(len(drops) - 0.5, -0.5)
    axes.xaxis.set_major_formatter(_percent)
    axes.set_title(
        "Fall of the final answer's probability in the last step\n"
        "(blue: with the norm, orange: without)",
        loc="left",
    )
    return figure


def _confusions(findings: Findings) -> Figure | None:
    shown = [each for each in findings.confusions if 1 < len(each.answers) <= MOST_ANSWERS]
    shown = shown[:4]
    if not shown:
        return None
    figure, axes = _figure(3.2 * len(shown), 3.4, columns=len(shown))
    for each, confusion in zip(axes, shown, strict=True):
        _confusion(each, confusion)
    return figure


def _confusion(axes: Axes, confusion: Confusion) -> None:
    counts = confusion.counts[-1].astype(float)
    totals = counts.sum(1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros_like(counts), where=totals > 0)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    names = [_short(name) for name in confusion.answers]
    axes.set_xticks(range(len(names) + 1), [*names, "other"], rotation=60, ha="right")
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("said in the last row")
    axes.set_title(_short(confusion.group), loc="left")
    for row, column in np.argwhere(counts > 0):
        axes.text(
            column,
            row,
            f"{int(counts[row, column])}",
            ha="center",
            va="center",
            fontsize=6,
            color="white" if shares[row, column] > 0.5 else "black",
        )


def _scripts(findings: Findings) -> Figure | None:
    figure, (axes,) = _figure(6.4, 2.6)
    names = list(findings.scripts)[: len(COLOURS)]
    if not names:
        return None
    rows = np.arange(findings.results.layers + 1)
    bottom = np.zeros(len(rows))
    for index, name in enumerate(names):
        share = np.nan_to_num(findings.scripts[name].value)
        axes.bar(rows, share, 0.85, bottom=bottom, color=COLOURS[index], label=name)
        bottom += share
    axes.set_xlabel("row (0 = embedding)")
    axes.yaxis.set_major_formatter(_percent)
    axes.set_title("Script of the top-1 token", loc="left")
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def _instead(findings: Findings) -> Figure | None:
    known = [each for each in findings.instead if not np.isnan(each.truth.value).all()]
    # All groups together first.
    groups = sorted(dict.fromkeys(each.group for each in known), key=lambda name: name != ALL)
    against = list(dict.fromkeys(each.against for each in known))
    if not groups:
        return None
    # One colour for a counterfactual in all panels, whichever of them it is missing from.
    colours = dict(zip(against, COLOURS[:MOST_REPLACED], strict=False))
    panels = groups[:MOST_PANELS]
    figure, axes = _figure(3.2 * len(panels) + 0.6, 3.4, columns=len(panels), sharey=True)
    for panel, name in zip(axes, panels, strict=True):
        shown = [each for each in known if each.group == name and each.against in colours]
        of_each = of_the_same_items(shown)
        for alike, line in zip(of_each, LINES, strict=False):
            beside = f", beside {alike[0].against}" if len(of_each) > 1 else ""
            _with_interval(panel, alike[0].truth, f"the picture{beside}", "#000000", line)
        for each in shown:
            _with_interval(panel, each.truth_without, each.against, colours[each.against])
        panel.set_title(_short(name), loc="left")
        panel.set_xlabel("row (0 = embedding)")
        panel.margins(x=0.01)
    axes[0].set_ylabel("probability of the truth")
    axes[0].set_ylim(-0.02, 1.02)
    axes[0].yaxis.set_major_formatter(_percent)
    _legend(figure, axes)
    _say_what_is_left_out(
        figure,
        counted(len(groups) - len(panels), "group"),
        counted(len(against) - len(colours), "counterfactual"),
    )
    return figure


def _looks(findings: Findings) -> Figure | None:
    looks = findings.looks
    if looks is None:
        return None
    from matplotlib.figure import Figure

    sides = [
        ("attention", [each.raw for each in looks.of]),
        ("sinks taken out", [each.without_sinks for each in looks.of]),
    ]
    if looks.on_states is not None:
        by_name = {each.which: each.raw for each in looks.on_states.of}
        sides.append(("on states", [by_name.get(each.which, {}) for each in looks.of]))
    shown = looks.of[:MOST_COLUMNS]
    figure = Figure(figsize=(2.4 * len(shown) + 1.0, 2.5 * len(sides)), layout="constrained")
    grid = figure.subplots(len(sides), len(shown), squeeze=False, sharex=True, sharey=True)
    for row, (name, columns) in zip(grid, sides, strict=True):
        for axes, curves in zip(row, columns, strict=False):
            for (kind, curve), colour in zip(curves.items(), COLOURS, strict=False):
                _with_interval(axes, curve, kind, colour)
        row[0].set_ylabel(name)
        row[0].set_ylim(-0.02, 1.02)
        row[0].yaxis.set_major_formatter(_percent)
    for first, last, each in zip(grid[0], grid[-1], shown, strict=True):
        first.set_title(_short(each.which), loc="left")
        last.set_xlabel("layer")
    _legend(figure, grid[0])
    _say_what_is_left_out(figure, counted(len(looks.of) - len(shown), "counterfactual"))
    return figure


def _by_depth(found: ByDepth, findings: Findings) -> Figure | None:
    own = [each for each in found.means if not each.against]
    # All groups together first.
    groups = sorted(dict.fromkeys(each.group for each in own), key=lambda name: name != ALL)
    if not groups:
        return None
    from matplotlib.figure import Figure

    kinds = list(dict.fromkeys(each.of for each in own))
    panels = groups[:MOST_PANELS]
    figure = Figure(figsize=(3.2 * len(panels) + 0.6, 3.0 * len(kinds)), layout="constrained")
    grid = figure.subplots(len(kinds), len(panels), squeeze=False, sharey="row")
    names = list(dict.fromkeys(name for each in own for name in each.curves))
    colours = dict(zip(names, COLOURS, strict=False))
    for each in own:
        if each.group not in panels:
            continue
        axes = grid[kinds.index(each.of)][panels.index(each.group)]
        for name, curve in each.curves.items():
            if name in colours:
                _with_interval(axes, curve, name, colours[name])
        axes.axhline(0, color="#999999", linewidth=0.8)
        axes.set_title(_short(each.group), loc="left")
        axes.set_xlabel("row (0 = embedding)" if each.by == "row" else "layer")
        axes.margins(x=0.01)
        if depth_read(found.method).is_share:
            axes.yaxis.set_major_formatter(_percent)
    for row, kind in zip(grid, kinds, strict=True):
        row[0].set_ylabel(_short(kind, LONGEST_NAME))
    _legend(figure, grid.flat)
    _say_what_is_left_out(
        figure,
        counted(len(groups) - len(panels), "group"),
        counted(len(names) - len(colours), "curve"),
    )
    return figure


def _with_interval(axes: Axes, curve: Curve, label: str, colour: str, line: Any = "-") -> None:
    places = np.arange(len(curve.value))
    axes.plot(places, curve.value, color=colour, linestyle=line, linewidth=1.6, label=label)
    axes.fill_between(places, curve.low, curve.high, color=colour, alpha=0.15, linewidth=0)


def _legend(figure: Figure, panels: Iterable[Axes]) -> None:
    """One legend above all panels, with every name once."""
    known: dict[str, Artist] = {}
    for axes in panels:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            known.setdefault(label, handle)
    names = [_short(name, LONGEST_NAME) for name in known]
    figure.legend(known.values(), names, loc="outside upper left", ncols=3, frameon=False)


def _say_what_is_left_out(figure: Figure, *counts: str) -> None:
    left_out = [count for count in counts if not count.startswith("0 ")]
    if left_out:
        figure.supxlabel(
            f"not drawn: {' and '.join(left_out)}, which the tables have", x=0.01, ha="left",
            fontsize=7,
        )  # fmt: skip


def _percent(value: float, _: object = None) -> str:
    return f"{value:.0%}" if abs(value * 100 - round(value * 100)) < 0.05 else f"{value:.1%}"


def _short(text: str, most: int = 28) -> str:
    """A name from the data as one printable line."""
    shown = "".join(letter if letter.isprintable() else "?" for letter in text)
    return shown if len(shown) <= most else f"{shown[: most - 1]}…"
