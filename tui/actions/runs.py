"""Actions on the runs in the session: switch, list, compare, rename, delete."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from tui.actions import sweeps
from tui.app import Explorer
from tui.state.run_view import RunView

if TYPE_CHECKING:
    from tui.views.compare.pair_context import PairContext


def switch(app: Explorer, step: int) -> None:
    """Show the next or previous run."""
    before = app.state.current
    if before is not None and before.run.id in app.sweep_opened:
        sweeps.walk(app, step)
        return
    app.state.switch(step)
    show_run(app, before)
    if app.state.current is before:
        where = "newest" if step > 0 else "first"
        app.say(f"this is the {where} run" if before is not None else "no run yet: r runs one")


def show_run(app: Explorer, before: RunView | None) -> None:
    """Show the state's current run in place of the one before, with its own picture, prompt and
    settings beside it. What was typed or opened meanwhile and not asked can still be chosen."""
    run = app.state.current
    unasked: tuple[str, ...] = ()
    app.state.note = None
    if run is not None and run is not before:
        unasked = app.beside.put(run.run.question)
    app.presenter.show_all()
    app.picture.show_facts()
    app.picture.show_replacement()
    if unasked:
        app.say(_where(app, unasked))


def _where(app: Explorer, unasked: Sequence[str]) -> str:
    """Say where a prompt or a picture that was not asked is now."""
    lists = {"prompt": "prompts", "picture": "open"}
    keys = {word: app.keymap.first(lists[word]) or "the palette" for word in unasked}
    fate = "not kept" if app.state.drafts.on else "not asked"
    return f"{fate}: " + " and ".join(f"the {word} ({keys[word]} lists it)" for word in unasked)


def history(app: Explorer) -> None:
    """List the runs in this session."""
    from tui.views.runs.history import History

    if isinstance(app.screen, History):
        return
    before = app.state.current

    def closed(chosen: RunView | None) -> None:
        # A run that has started meanwhile was not chosen: what the user has typed stays.
        is_step = chosen is not None or before not in app.state.runs
        show_run(app, before if is_step else app.state.current)

    app.push_screen(History(app.state, pair_context(app), ascii_only=app.startup.ascii), closed)


def compare(app: Explorer) -> None:
    """Compare the shown run with the one before it (the first run with the second)."""
    run = app.state.current
    others = [other for other in app.state.runs if other is not run]
    if run is None or not others:
        app.say("comparing needs two runs: r runs another question")
        return
    index = len(others) if app.state.is_draft else app.state.runs.index(run)
    left, right = (run, others[0]) if index == 0 else (app.state.runs[index - 1], run)
    _lay_side_by_side(app, left, right)


def pair_context(app: Explorer) -> PairContext:
    """Return what a comparison is opened with."""
    from tui.views.compare.pair_context import PairContext

    return PairContext(
        ascii_only=app.startup.ascii,
        keymap=app.keymap,
        look=lambda: app.state.look,
        want=app.visits.want,
        runs=lambda: app.state.shown,
    )


def _lay_side_by_side(app: Explorer, left: RunView, right: RunView) -> None:
    from tui.views.compare.compare import Compare

    app.push_screen(Compare(left, right, pair_context(app)), lambda _: app.presenter.show_all())


def rename(app: Explorer) -> None:
    """Ask for a title for the shown run."""
    from tui.widgets.line_input import LineInput

    run = app.state.current
    if run is None or app.state.is_draft:
        app.say("no run to rename" if run is None else _not_kept(app))
        return
    app.push_screen(
        LineInput("title of this run", run.run.title or "", ascii_only=app.startup.ascii),
        partial(_take_title, app, run),
    )


def _take_title(app: Explorer, run: RunView, title: str | None) -> None:
    if title is not None:
        app.state.rename(run, title)
        app.presenter.show_all()


def note(app: Explorer) -> None:
    """Ask for tags of the shown run and a note on it."""
    from tui.views.runs.note_input import ask_note

    run = app.state.current
    if run is None or app.state.is_draft:
        app.say("no run to write about" if run is None else _not_kept(app))
        return
    ask_note(app, app.state, run, app.presenter.show_all, ascii_only=app.startup.ascii)


def delete(app: Explorer) -> None:
    """Delete the shown run; this can be undone."""
    run = app.state.current
    if run is None:
        app.say("no run to delete")
    elif app.state.is_draft:
        app.say(_not_kept(app))
    elif not app.state.delete(run):
        app.say("this run is still running; ctrl+c cancels it")
    else:
        show_run(app, run)
        app.say(f"deleted; {app.keymap.first('undo') or 'undo'} brings it back")


def _not_kept(app: Explorer) -> str:
    return f"this run is not kept: {app.keymap.first('run') or 'the palette'} keeps it"


def undo_delete(app: Explorer) -> None:
    """Restore the run that was deleted last."""
    before = app.state.current
    if app.state.undo_delete() is None:
        app.say("nothing has been deleted")
    else:
        show_run(app, before)
        app.say("brought back", "good")
