"""The comparison: both answers' probability in two runs, and the divergence of every row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from engine.records import Comparison
from tui.sharing.figures.saying import name_rows, remarks_on_both
from tui.sharing.figures.style import COLOURS, figure, line, token, with_gaps
from tui.state.comparing import align
from tui.state.run_view import RunView

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_STYLES: Final = ("-", "--")


def draw(
    view: RunView,
    other: RunView,
    names: tuple[str, str],
    comparison: Comparison | None,
    columns: int,
) -> Figure:
    """Return the comparison of two runs called `names`; the lower half, the divergence, only if it
    was computed."""
    known = [
        (row.layer, row.js) for row in (comparison.rows if comparison else ()) if row.js is not None
    ]
    made, axes = figure(
        columns, 3.2 if known else 2.2, 2 if known else 1, sharex=True,
        **({"height_ratios": (2, 1)} if known else {}),
    )  # fmt: skip
    aligned = align(view, other)
    for index, answer in enumerate(aligned.answers):
        for side, name in enumerate(names):
            changes = [row.changes[index] for row in aligned.rows]
            axes[0].plot(
                [row.left_layer for row in aligned.rows],
                with_gaps([(change.left, change.right)[side] for change in changes]),
                color=COLOURS[index],
                linestyle=_STYLES[side],
                marker="o",
                markersize=2.2,
                label=f"{token(answer.text)}, {line(name)}",
            )
    axes[0].set_ylabel("probability")
    axes[0].set_ylim(-0.02, 1.02)
    if known:
        axes[1].bar([row for row, _ in known], [js for _, js in known], color="#999999", width=0.7)
        axes[1].set_ylabel("JS (nats)")
    name_rows(axes[-1], remarks_on_both((view, other), names))
    made.legend(loc="outside upper center", ncols=columns, handlelength=2)
    return made
