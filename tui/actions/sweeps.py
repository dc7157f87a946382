"""Actions on the open sweep: show its findings, open its items."""

from __future__ import annotations

from functools import partial

from msgspec.structs import replace

from engine.errors import LenscopeError, typed_line
from tui.app import Explorer


def show(app: Explorer) -> None:
    """Show the findings of the sweep."""
    if app.startup.sweep is None:
        app.say("no sweep is open: `lenscope DIR` opens one")
        return
    from tui.views.sweep.sweep_view import SweepView

    view = SweepView(app.startup.sweep, app.sweep, ascii_only=app.startup.ascii)

    def closed(to_items: bool | None) -> None:
        app.sweep = view.shown
        if to_items:
            _list_items(app)

    app.push_screen(view, closed)


def _list_items(app: Explorer) -> None:
    from tui.views.sweep.sweep_view import SweepItems

    if app.sweep is None:
        return
    app.push_screen(
        SweepItems(
            f"{len(app.sweep.items):,} items",
            app.sweep.items,
            ascii_only=app.startup.ascii,
            hint="lost, wrong, right, a prompt, an answer, a file",
        ),
        partial(_open_item, app),
    )


def _open_item(app: Explorer, item: str | None) -> None:
    if item is None:
        show(app)
        return
    from engine.sweeps.item_report import was_read_further
    from engine.sweeps.reopening import opened, read_item

    assert app.startup.sweep is not None
    try:
        sweep, found = read_item(app.startup.sweep, item)
        run = opened(sweep, found)
    except LenscopeError as error:
        app.say(str(error), "error")
        return
    except (OSError, MemoryError) as error:
        app.say(f"item {item} cannot be opened ({typed_line(error)})", "error")
        return
    app.state.include(run)
    app.state.question = replace(run.question, model=None)
    app.picture.forget_seen()
    app.presenter.put_prompt(run.question.prompt)
    app.presenter.show_all()
    app.picture.open()
    app.picture.show_facts()
    key = app.keymap.first("sweep") or "the palette"
    truth = f", {run.title}" if run.title else ""
    app.say(f"item {item}{truth}; {key} goes back to the sweep")
    if was_read_further(found):
        from tui.views.sweep.item_view import ItemView

        app.push_screen(ItemView(found, ascii_only=app.startup.ascii))
