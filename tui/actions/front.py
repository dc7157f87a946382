"""Which runs and which table lie in front: those of the main screen, or both of a comparison."""

from __future__ import annotations

from tui.app import Explorer
from tui.state.run_view import RunView
from tui.widgets.folded_list import FoldedList
from tui.widgets.two_runs import TwoRuns


def two_runs(app: Explorer) -> TwoRuns | None:
    """Return the comparison that is shown; None where none is."""
    return app.screen if isinstance(app.screen, TwoRuns) else None


def runs_in_front(app: Explorer) -> tuple[RunView, ...]:
    """Return the shown runs, at the positions that are shown; none where there is no run."""
    pair, here = two_runs(app), app.state.here
    if pair is not None:
        return pair.sides
    return (here,) if here is not None else ()


def table_in_front(app: Explorer) -> FoldedList:
    """Return the table of what is shown."""
    pair = two_runs(app)
    return pair.table_of_rows if pair is not None else app.main.table
