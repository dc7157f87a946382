"""Actions that move in the table of layers while it has the focus."""

from __future__ import annotations

from tui.app import Explorer


def cursor(app: Explorer, step: int) -> None:
    """Move the cursor by rows."""
    if _has_rows(app):
        app.main.table.action_cursor(step)


def page(app: Explorer, pages: float) -> None:
    """Move the cursor by pages."""
    if _has_rows(app):
        app.main.table.action_page(pages)


def edge(app: Explorer, side: int) -> None:
    """Move the cursor to the first or the last row."""
    if _has_rows(app):
        app.main.table.action_edge(side)


def columns(app: Explorer, step: int) -> None:
    """Scroll to later or earlier tokens where not all fit."""
    table = app.main.table
    if not _has_rows(app) or table.scroll_columns(step):
        return
    if table.columns.count == app.state.top_k:
        key = app.keymap.first("more") or "the palette"
        app.say(f"all {app.state.top_k} tokens of a row are shown: {key} shows one more")
    else:
        app.say(f"these are the {'last' if step > 0 else 'first'} tokens of the rows")


def _has_rows(app: Explorer) -> bool:
    if app.main.table.count:
        return True
    app.say(f"no rows yet: {app.keymap.first('run') or 'the palette'} runs the question")
    return False
