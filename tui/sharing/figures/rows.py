"""The table: every row with its top tokens, a bar as wide as the probability under each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tui.sharing.figures.saying import remarks
from tui.sharing.figures.style import figure, token
from tui.state.run_view import RunView

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LINE: Final = 0.165
"""The height of a row, in inches."""
_BAR: Final = "#56B4E9"
_ANSWER_BAR: Final = "#E69F00"
_GAP: Final = 0.03


def draw(view: RunView, columns: int, until: int | None = None) -> Figure:
    """Return the table, the last row at the top as on the screen; `until` leaves out that row and
    those above it."""
    count = view.run.layers + 1
    made, (axes,) = figure(columns, 0.35 + _LINE * count)
    axes.set_axis_off()
    axes.set_xlim(-0.13, 1)
    axes.set_ylim(-0.5, count + 0.5)
    top_k = max(1, view.run.question.top_k)
    answer = view.answer
    axes.text(-0.02, count, "row", ha="right", va="center", color="#666666")
    for rank in range(top_k):
        axes.text(rank / top_k, count, f"top-{rank + 1}", va="center", color="#666666")
    for row in view.rows[:until]:
        formed = " ●" if row.layer == view.run.formation and until is None else ""
        approximate = " ≈" if row.approximate else ""
        axes.text(-0.02, row.layer, f"{row.layer}{approximate}{formed}", ha="right", va="center")
        for rank, candidate in enumerate(row.top[:top_k]):
            is_answer = answer is not None and candidate.id == answer.id
            _cell(axes, rank / top_k, 1 / top_k, row.layer, candidate.text, candidate.probability,
                  is_answer)  # fmt: skip
    if remark := remarks(view):
        made.supxlabel(remark, x=0.01, ha="left", fontsize=7, color="#666666")
    return made


def _cell(
    axes: Axes, left: float, width: float, row: int, text: str, share: float, is_answer: bool
) -> None:
    from matplotlib.patches import Rectangle

    inner = width - _GAP
    bar = Rectangle((left, row - 0.42), inner * share, 0.84, linewidth=0, alpha=0.45)
    bar.set_facecolor(_ANSWER_BAR if is_answer else _BAR)
    axes.add_patch(bar)
    weight = "bold" if is_answer else "normal"
    shown = axes.text(left + 0.008, row, token(text), va="center", fontweight=weight)
    shown.set_clip_path(Rectangle((left, row - 0.5), inner * 0.72, 1, transform=axes.transData))
    axes.text(left + inner, row, f"{share:.3f}", ha="right", va="center", fontsize=7)
