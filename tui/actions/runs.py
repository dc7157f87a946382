"""Actions on the runs in the session: switch, list, compare, rename, delete."""

from __future__ import annotations

from functools import partial

from msgspec.structs import replace

from tui.app import Explorer
from tui.state.run_view import RunView


def switch(app: Explorer, step: int) -> None:
    """Show the next or previous run."""
    before = app.state.current
    app.state.switch(step)
    show_run(app, before)


def show_run(app: Explorer, before: RunView | None) -> None:
    """Show the state's current run in place of the one before. The editor and picture follow,
    unless the user has typed or opened something else meanwhile."""
    run, editor = app.state.current, app.main.editor
    if run is not None and before is not None and run is not before:
        old, new, present = before.run.question, run.run.question, app.state.question
        if editor.text == old.prompt:
            editor.put(new.prompt)
        if _path(present.picture) == _path(old.picture):
            app.state.question = replace(present, picture=new.picture)
            if _path(old.picture) != _path(new.picture):
                app.picture.forget_seen()
                app.picture.open()
    app.state.note = None
    app.presenter.show_all()
    app.picture.show_facts()
    app.presenter.show_caption()
    app.picture.show_replacement()


def history(app: Explorer) -> None:
    """List the runs in this session."""
    from tui.views.runs.history import History

    if isinstance(app.screen, History):
        return
    before = app.state.current
    app.push_screen(
        History(app.state, ascii_only=app.startup.ascii), lambda _: show_run(app, before)
    )


def compare(app: Explorer) -> None:
    """Compare the shown run with the one before it (the first run with the second)."""
    from tui.views.compare.compare import Compare

    run = app.state.current
    others = [other for other in app.state.runs if other is not run]
    if run is None or not others:
        app.say("comparing needs two runs: r runs another question")
        return
    index = app.state.runs.index(run)
    left, right = (run, others[0]) if index == 0 else (app.state.runs[index - 1], run)
    app.push_screen(Compare(left, right, ascii_only=app.startup.ascii))


def rename(app: Explorer) -> None:
    """Ask for a title for the shown run."""
    from tui.widgets.line_input import LineInput

    run = app.state.current
    if run is None:
        app.say("no run to rename")
        return
    app.push_screen(
        LineInput("title of this run", run.run.title or "", ascii_only=app.startup.ascii),
        partial(_take_title, app, run),
    )


def _take_title(app: Explorer, run: RunView, title: str | None) -> None:
    if title is not None:
        app.state.rename(run, title)
        app.presenter.show_all()


def delete(app: Explorer) -> None:
    """Delete the shown run; this can be undone."""
    run = app.state.current
    if run is None:
        app.say("no run to delete")
    elif not app.state.delete(run):
        app.say("this run is still running; ctrl+c cancels it")
    else:
        show_run(app, run)
        app.say(f"deleted; {app.keymap.first('undo') or 'undo'} brings it back")


def undo_delete(app: Explorer) -> None:
    """Restore the run that was deleted last."""
    before = app.state.current
    if app.state.undo_delete() is None:
        app.say("nothing has been deleted")
    else:
        show_run(app, before)
        app.say("brought back", "good")


def _path(picture: object) -> str | None:
    return getattr(picture, "path", None)
