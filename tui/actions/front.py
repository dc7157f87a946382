"""Which runs and which table lie in front: those of the main screen, or both of a comparison."""

from __future__ import annotations

from tui.app import Explorer
from tui.state.run_view import RunView
from tui.widgets.folded_list import FoldedList


def runs_in_front(app: Explorer) -> tuple[RunView, ...]:
    """Return the shown runs, at the positions that are shown; none where there is no run."""
    pair, here = app.two_runs, app.state.here
    if pair is not None:
        return pair.sides
    return (here,) if here is not None else ()


def table_in_front(app: Explorer) -> FoldedList:
    """Return the table of what is shown."""
    pair = app.two_runs
    return pair.table_of_rows if pair is not None else app.main.table
