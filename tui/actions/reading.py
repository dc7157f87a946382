"""What looks closer at the run that is shown: views, tracked tokens, the search, the columns."""

from __future__ import annotations

import dataclasses
from functools import partial

from tui.app import Explorer
from tui.state.run_view import RunView


def toggle(app: Explorer, view: str) -> None:
    """Open or close a view in the lower slot."""
    app.main.lower.toggle(view)
    app.call_after_refresh(app.shown.resting)


def enlarge(app: Explorer, view: str) -> None:
    """Give a view most of the column, or take it back."""
    app.main.lower.toggle_large(view)
    app.call_after_refresh(app.shown.resting)


def measure(app: Explorer) -> None:
    """Plot the next measure: probability, its logarithm, rank."""
    if app.main.lower.is_open("plot"):
        app.main.lower.view("plot").next_measure()
        app.call_after_refresh(app.shown.resting)
    else:
        toggle(app, "plot")


def choose_columns(app: Explorer) -> None:
    """Choose which figures have a column."""
    from tui.views.table.column_chooser import ColumnChooser

    app.push_screen(
        ColumnChooser(app.state.look.figures, ascii_only=app.startup.ascii),
        partial(_take_columns, app),
    )


def _take_columns(app: Explorer, figures: tuple[str, ...] | None) -> None:
    if figures is not None:
        app.state.look = dataclasses.replace(app.state.look, figures=figures)
        app.remembered.note(columns=figures)
        app.shown.all()


# ---------------------------------------------------------------------- tracked tokens


def track(app: Explorer) -> None:
    """Type a token to follow through the layers."""
    from tui.views.plot.track_dialog import TrackDialog

    run = app.state.current
    if run is None:
        app.say("there is no run yet to follow a token through: r runs the question")
        return
    reason = ""
    if not app.asker.keeps_stream_of(run):
        reason = (
            "this run's stream is not kept: r runs it again"
            if app.state.model.ready is not None
            else "other tokens need the model: L loads it"
        )
    app.push_screen(
        TrackDialog(
            _tracked(run), app.asker.ask_spellings, reason=reason, ascii_only=app.startup.ascii
        ),
        partial(_take_tracked, app, run),
    )


def _take_tracked(app: Explorer, run: RunView, tokens: tuple[tuple[int, str], ...] | None) -> None:
    if tokens is None:
        return
    wanted, known = dict(tokens), dict(_tracked(run))
    for gone in known.keys() - wanted.keys():
        app.state.untrack(run, gone)
        app.state.pinned.pop(gone, None)
    app.asker.track(run, [token for token in tokens if token[0] not in known])
    if tokens and not app.main.lower.is_open("plot"):
        app.main.lower.toggle("plot")
    app.call_after_refresh(app.shown.all)


def _tracked(run: RunView) -> tuple[tuple[int, str], ...]:
    return tuple((known.id, known.text) for known in run.run.tracked if known.why == "user")


# ---------------------------------------------------------------------- search


def find(app: Explorer) -> None:
    """Type what to find."""
    app.search.open()


def find_next(app: Explorer, step: int) -> None:
    """Go to the next (or previous) row with what was looked for."""
    app.search.next(step)
