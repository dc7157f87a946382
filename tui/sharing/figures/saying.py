"""What a figure says of the rows in it beyond their numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tui.sharing.figures.style import line, token
from tui.state.run_view import RunView

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ROWS: Final = "row (0 = embedding)"


def remarks(view: RunView) -> str:
    """Return what is not as usual in these rows: read at another position than the last token of
    the prompt, or without the final norm. Empty if nothing is."""
    run, found = view.run, []
    read = view.token(run.position)
    if read is not None and run.position != len(view.own.run.tokens) - 1:
        found.append(f"read at position {run.position}, after {token(read.text)}")
    if not run.question.norm:
        found.append(f"final norm off below row {run.layers}")
    return "; ".join(found)


def remarks_on_both(views: tuple[RunView, RunView], names: tuple[str, str]) -> str:
    """Return the remarks on two runs called `names`, once if they are the same."""
    first, second = (remarks(view) for view in views)
    if first == second:
        return first
    both = zip(names, (first, second), strict=True)
    return "\n".join(f"{line(name)}: {remark}" for name, remark in both if remark)


def name_rows(axes: Axes, remark: str) -> None:
    """Label a horizontal axis of rows, with a remark below."""
    axes.set_xlabel(f"{ROWS}\n{remark}" if remark else ROWS)


def say_more(axes: Axes, count: int) -> None:
    """Say in the legend how many more curves there are; nothing if none are."""
    if count:
        axes.plot([], [], linestyle="none", label=f"and {count:,} more")
