"""The plot: the probability of the answer, of tracked tokens and of every top-1, over the rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tui.sharing.figures.saying import name_rows, remarks, say_more
from tui.sharing.figures.style import ANSWER, COLOURS, figure, token, with_gaps
from tui.state.curves import curves_of
from tui.state.measures import Measure
from tui.state.run_view import RunView

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST: Final = 8
"""Curves that can be told apart on paper."""


def draw(view: RunView, columns: int) -> Figure:
    """Return the plot; the formation row is a dotted line."""
    made, (axes,) = figure(columns, 2.2)
    curves, more = curves_of(view, Measure.PROBABILITY)
    colours = iter(COLOURS * 2)
    for curve in curves[:_MOST]:
        axes.plot(
            range(len(curve.points)),
            with_gaps(curve.points),
            color=ANSWER if curve.is_answer else next(colours),
            linewidth=1.8 if curve.is_answer else 1.0,
            marker="o",
            markersize=2.2,
            label=token(curve.text),
            zorder=3 if curve.is_answer else 2,
        )
    if view.run.formation is not None:
        axes.axvline(view.run.formation, color="#999999", linewidth=0.7, linestyle=":")
    say_more(axes, more + max(len(curves) - _MOST, 0))
    name_rows(axes, remarks(view))
    axes.set_ylabel("probability")
    axes.set_xlim(0, max(view.run.layers, 1))
    axes.set_ylim(-0.02, 1.02)
    if curves:
        made.legend(loc="outside upper center", ncols=4 if columns == 2 else 3, handlelength=1.2)
    return made
