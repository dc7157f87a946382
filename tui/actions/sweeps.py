"""Actions on the open sweep: show its findings, open its items."""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from engine.errors import LenscopeError, typed_line
from tui.app import Explorer
from tui.state.listing import listed
from tui.state.run_view import RunView
from tui.widgets.background import in_background


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
    here, view = _item_shown(app), app.state.current
    if app.sweep is None:
        _read_results(app, lambda: walk(app, step) if _item_shown(app) == here else None)
        return
    app.sweep_listed = items = app.sweep_listed or _as_listed(app)
    if here not in items:
        app.say("this item is not in the list of items, as it is filtered now")
        return
    place = items.index(here) + step
    if 0 <= place < len(items):
        _open_item(app, items[place], further=False)
        if view is not None and app.state.current is not view and not _has_been_used(app, view):
            app.state.drop(view)
            app.sweep_opened.pop(view.run.id)
    else:
        end = "last" if step > 0 else "first"
        app.say(f"this is the {end} of {len(items):,} items in the list")


def _item_shown(app: Explorer) -> str | None:
    run = app.state.current
    return run.run.id if run is not None and run.run.id in app.sweep_opened else None


def _has_been_used(app: Explorer, view: RunView) -> bool:
    """Return whether an item was titled, annotated or read further, or its question asked again."""
    opened, question = app.sweep_opened[view.run.id], view.run.question
    return view.run is not opened or any(
        other.run.question.prompt == question.prompt
        and other.run.question.picture == question.picture
        for other in app.state.runs
        if other.run.id not in app.sweep_opened
    )


def _as_listed(app: Explorer) -> tuple[str, ...]:
    """Return the items as the list would show them."""
    from tui.views.sweep.sweep_items import SweepRows

    items = app.sweep.items if app.sweep is not None else ()
    return tuple(line.item for line in listed(items, SweepRows.fields, app.sweep_order))


def _read_results(app: Explorer, then: Callable[[], object]) -> None:
    """Read the results in the background, since a large sweep takes a while, and go on."""
    from tui.views.sweep.sweep_view import SweepShown, read_shown

    folder = app.startup.sweep
    assert folder is not None
    app.say("reading the results of the sweep")

    def work() -> SweepShown | str:
        try:
            return read_shown(folder)
        except LenscopeError as error:
            return str(error)

    def found(shown: SweepShown | str) -> None:
        if isinstance(shown, str):
            app.say(shown, "error")
        else:
            app.sweep = shown
            then()

    in_background(app, work, found)


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
    app.sweep_opened.setdefault(run.id, run)
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
