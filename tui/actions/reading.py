"""Actions that examine the shown run: views, tracked tokens, search, columns."""

from __future__ import annotations

import dataclasses
from functools import partial

from msgspec.structs import replace

from engine.methods.track import TrackRequest
from tui.actions.front import runs_in_front, table_in_front
from tui.app import Explorer
from tui.state.comparing import of_one_model
from tui.state.folding import Fold
from tui.state.milestones import milestones
from tui.state.run_view import RunView
from tui.text.loading_times import loaded_line


def toggle(app: Explorer, view: str) -> None:
    """Open or close a view in the lower slot."""
    app.main.lower.toggle(view)
    app.call_after_refresh(app.presenter.follow_cursor)


def open_or_enlarge(app: Explorer, view: str) -> None:
    """Open a view in the lower slot; if it is open, enlarge it, or shrink it again."""
    lower = app.main.lower
    if lower.is_open(view) or lower.is_large(view):
        lower.toggle_large(view)
    else:
        lower.toggle(view)
    app.call_after_refresh(app.presenter.follow_cursor)


def table(app: Explorer) -> None:
    """Go to the table; if it has the focus, close what shares the column with it."""
    if app.main.table.has_focus and not app.main.lower.large:
        app.main.lower.close_tenants()
    shrink(app)
    app.main.back_to_table()


def shrink(app: Explorer) -> bool:
    """Shrink an enlarged view; return whether one was."""
    large = app.main.lower.large
    if large:
        app.main.lower.toggle_large(large)
        app.call_after_refresh(app.presenter.follow_cursor)
    return bool(large)


def enlarge(app: Explorer, view: str) -> None:
    """Enlarge a view to most of the column, or shrink it again."""
    app.main.lower.toggle_large(view)
    app.call_after_refresh(app.presenter.follow_cursor)


def scroll_detail(app: Explorer, pages: float) -> None:
    """Scroll through the tokens of the layer detail, open it if it is closed."""
    lower = app.main.lower
    if not (lower.is_open("detail") or lower.is_large("detail")):
        toggle(app, "detail")
        return
    reason = lower.view("detail").scroll_tokens(pages)
    if reason:
        app.say(reason)


def measure(app: Explorer) -> None:
    """Plot the next measure: probability, log-probability or rank; in the grid, colour its cells by
    the next one."""
    if app.main.lower.is_open("grid") or app.main.lower.is_large("grid"):
        app.main.lower.view("grid").next_heat()
    elif app.main.lower.is_open("plot"):
        app.main.lower.view("plot").next_measure()
        app.call_after_refresh(app.presenter.follow_cursor)
    else:
        toggle(app, "plot")


def leaders(app: Explorer) -> None:
    """Plot every token that was top-1 in some row, or only the answer and what is tracked."""
    if not app.main.lower.is_open("plot"):
        toggle(app, "plot")
        return
    if app.main.lower.view("plot").toggle_leaders():
        app.say("the plot has every token that is top-1 in some row")
    else:
        app.say("the plot has the answer and what is tracked")


def fold(app: Explorer) -> None:
    """Fold the rows that show what the row before shows, then those whose top-1 is that of the row
    before; then show every row again."""
    look, runs = app.state.look, runs_in_front(app)
    if not any(run.rows for run in runs):
        app.say("no rows to fold yet: r runs the question")
        return
    fold = look.fold.next(look.top_k)
    app.state.look = dataclasses.replace(look, fold=fold)
    app.show_look()
    key = app.keymap.first("fold") or "the palette"
    if fold is Fold.NONE:
        app.say("every row is shown")
    elif any(run.refused for run in runs):
        whose = "this run's proof failed: its" if len(runs) == 1 else "a run's proof failed: the"
        app.say(f"{whose} rows are not folded")
    else:
        table = table_in_front(app)
        hidden = table.count - table.line_count
        where = "" if len(runs) == 1 else "on both sides "
        if fold is Fold.EQUAL:
            app.say(f"{hidden} rows are folded, which {where}equal that above; {key} folds more")
        else:
            app.say(f"{hidden} rows are folded, whose top-1 is {where}that above; {key} shows them")


def choose_columns(app: Explorer) -> None:
    """Choose the optional columns."""
    from tui.views.table.column_chooser import ColumnChooser

    app.push_screen(
        ColumnChooser(app.state.look.figures, ascii_only=app.startup.ascii),
        partial(_take_columns, app),
    )


def _take_columns(app: Explorer, figures: tuple[str, ...] | None) -> None:
    if figures is not None:
        app.state.look = dataclasses.replace(app.state.look, figures=figures)
        app.remembered.note(columns=figures)
        app.show_look()


# ---------------------------------------------------------------------- tracked tokens


def track(app: Explorer) -> None:
    """Ask for tokens to track over the layers of the shown run, or of both that are compared."""
    from tui.views.plot.track_dialog import TrackDialog

    runs = runs_in_front(app)
    if not runs:
        app.say("no run yet in which to track a token: r runs the question")
        return
    runs = _of_one_vocabulary(app, runs)
    reasons = [_why_not_tracked(app, run) for run in runs]
    known = {each.id: milestones(each).words for run in reversed(runs) for each in run.run.tracked}
    app.push_screen(
        TrackDialog(
            tuple(dict(pair for run in runs for pair in _tracked(run)).items()),
            app.asker.ask_spellings,
            reason=reasons[0] if all(reasons) else "",
            ascii_only=app.startup.ascii,
            known=known if len(runs) == 1 else {},
        ),
        partial(_take_tracked, app, runs),
    )


def _of_one_vocabulary(app: Explorer, runs: tuple[RunView, ...]) -> tuple[RunView, ...]:
    """Return the runs whose tokens have the same ids: of two models, the run of the loaded one."""
    if len(runs) < 2 or of_one_model(*runs):
        return runs
    return tuple(run for run in runs if not _why_not_tracked(app, run))[:1] or runs[:1]


def _why_not_tracked(app: Explorer, run: RunView) -> str:
    """Return why tokens that are not tracked yet cannot be; empty where they can."""
    request = TrackRequest(position=run.run.position)
    if app.asker.can_read(run, request):
        return ""
    if app.state.model.ready is None:
        return f"other tokens need the model: {app.keymap.first('load') or 'the palette'} loads it"
    return app.asker.why_not(run, request)


def _take_tracked(
    app: Explorer, runs: tuple[RunView, ...], tokens: tuple[tuple[int, str], ...] | None
) -> None:
    if tokens is None:
        return
    wanted = dict(tokens)
    for run in runs:
        known = dict(_tracked(run))
        for gone in known.keys() - wanted.keys():
            app.state.untrack(run, gone)
            app.state.pinned.pop(gone, None)
        app.asker.track(run, [token for token in tokens if token[0] not in known])
    pair = app.two_runs
    if pair is not None:
        _say_untracked(app, pair.sides, runs)
    elif tokens and not app.main.lower.is_open("plot"):
        app.main.lower.toggle("plot")
    app.call_after_refresh(app.show_look)


def _say_untracked(
    app: Explorer, sides: tuple[RunView, RunView], tracked: tuple[RunView, ...]
) -> None:
    """Say of which side of a comparison only what its rows hold is known."""
    for name, run in zip(("left", "right"), sides, strict=True):
        reason = _why_not_tracked(app, run)
        if run not in tracked:
            reason = "another model, whose tokens have other ids"
        if reason:
            app.say(f"{name}: only what its rows hold is known of these tokens ({reason})")


def _tracked(run: RunView) -> tuple[tuple[int, str], ...]:
    return tuple((known.id, known.text) for known in run.run.tracked if known.why == "user")


# ---------------------------------------------------------------------- search


def find(app: Explorer) -> None:
    """Open the line in which the user types what to find."""
    app.search.open()


def find_next(app: Explorer, step: int) -> None:
    """Go to the next (or previous) row with a token found."""
    app.search.next(step)


def notes(app: Explorer) -> None:
    """Show the notes on the model in full, and how long loading it took."""
    run, ready = app.state.current, app.state.model.ready
    card = run.run.question.model if run is not None else ready.model if ready else None
    loaded = loaded_line(ready) if ready is not None and ready.model == card else None
    told = (*app.state.notes, *([loaded] if loaded is not None else []))
    if card is None or not told:
        app.say("there is nothing to note about this model")
        return
    from tui.views.models.model_notes import ModelNotes

    app.push_screen(ModelNotes(replace(card, notes=told), ascii_only=app.startup.ascii))
