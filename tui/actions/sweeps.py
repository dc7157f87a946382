"""Actions on the open sweep: show its findings, open its items."""

from __future__ import annotations

from msgspec.structs import replace

from engine.errors import LenscopeError, typed_line
from tui.app import Explorer


def show(app: Explorer) -> None:
    """Show the findings of the sweep; from one of its items go back to the list of items."""
    if app.startup.sweep is None:
        app.say("no sweep is open: `lenscope DIR` opens one")
        return
    if app.sweep is not None and _item_shown(app) is not None:
        _list_items(app)
    else:
        _show_findings(app)


def walk(app: Explorer, step: int) -> None:
    """Open the next or the previous item of the list, in its order, in the place of the one that
    is shown."""
    here, listed = _item_shown(app), app.sweep_listed
    if here not in listed:
        app.say("this item is not in the list of items, as it is filtered now")
        return
    place = listed.index(here) + step
    if 0 <= place < len(listed):
        _open_item(app, listed[place], further=False)
    else:
        end = "last" if step > 0 else "first"
        app.say(f"this is the {end} of {len(listed):,} items in the list")


def _item_shown(app: Explorer) -> str | None:
    run = app.state.current
    return app.sweep_items.get(run.run.id) if run is not None else None


def _show_findings(app: Explorer) -> None:
    assert app.startup.sweep is not None
    from tui.views.sweep.sweep_view import SweepView

    view = SweepView(app.startup.sweep, app.sweep, ascii_only=app.startup.ascii)

    def closed(to_items: bool | None) -> None:
        app.sweep = view.shown
        if to_items:
            _list_items(app)

    app.push_screen(view, closed)


def _list_items(app: Explorer) -> None:
    from tui.views.sweep.sweep_items import SweepItems

    if app.sweep is None:
        return
    at = _item_shown(app)
    view = SweepItems(app.sweep.items, app.sweep_order, at, ascii_only=app.startup.ascii)

    def closed(item: str | None) -> None:
        app.sweep_order = view.order
        if item is None:
            _show_findings(app)
            return
        app.sweep_listed = view.listed
        _open_item(app, item)

    app.push_screen(view, closed)


def _open_item(app: Explorer, item: str, *, further: bool = True) -> None:
    """Show an item's rows; with `further`, first a page of what else was read of it."""
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
    app.sweep_items[run.id] = item
    app.state.question = replace(run.question, model=None)
    app.picture.forget_seen()
    app.presenter.put_prompt(run.question.prompt)
    app.presenter.show_all()
    app.picture.open()
    app.picture.show_facts()
    key = app.keymap.first("sweep") or "the palette"
    truth = f", {run.title}" if run.title else ""
    place = app.sweep_listed.index(item) + 1
    walk_keys = f"{app.keymap.first('previous-run')} {app.keymap.first('next-run')} walk them"
    app.say(
        f"item {item}{truth}; {place:,} of {len(app.sweep_listed):,}, {walk_keys}, {key} lists them"
    )
    if further and was_read_further(found):
        from tui.views.sweep.item_view import ItemView

        app.push_screen(ItemView(found, ascii_only=app.startup.ascii))
