"""The rows of a run as a table with the columns of the screen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from engine.records import LayerReading, Run, Tracked
from engine.run_tables import candidates, placed
from engine.tables import Cell, Column, Table
from tui.state.columns import FIGURE_COLUMNS, in_order, place_in
from tui.state.run_view import NEXT_HERE
from tui.text.numbers import ordinal


def rows_table(
    run: Run,
    rows: Sequence[LayerReading],
    top_k: int,
    figures: Sequence[str],
    position: int | None = None,
) -> Table:
    """Return the rows with `top_k` tokens each and the optional columns; columns without a value
    in this run are left out. `position` is that of the rows if it is not the run's own."""
    tracked = tracked_last(run)
    chosen = [name for name in in_order(figures) if name != "tracked" or tracked is not None]
    columns = [Column("layer", "count")]
    columns += [Column(f"token_{rank}", "candidate", ordinal(rank)) for rank in range(1, top_k + 1)]
    for name in chosen:
        column = FIGURE_COLUMNS[name].column
        if name == "tracked" and tracked is not None:
            column = replace(column, title=tracked.text, is_of_a_token=True)
        elif name == "answer" and position is not None:
            column = replace(column, title=NEXT_HERE)
        columns.append(column)
    table = Table(
        "",
        tuple(columns),
        tuple(
            (row.layer, *candidates(row, top_k), *_figures(row, chosen, tracked)) for row in rows
        ),
    )
    return placed(table, position)


def tracked_last(run: Run) -> Tracked | None:
    """Return the token that the user tracked last, or None."""
    return next((token for token in reversed(run.tracked) if token.why == "user"), None)


def _figures(row: LayerReading, names: Sequence[str], tracked: Tracked | None) -> tuple[Cell, ...]:
    place = place_in(tracked, row.layer)
    return tuple(FIGURE_COLUMNS[name].value(row, place) for name in names)
