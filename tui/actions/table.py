"""Actions that move in the table of layers while it has the focus."""

from __future__ import annotations

from tui.app import Explorer


def cursor(app: Explorer, step: int) -> None:
    """Move the cursor by rows."""
    app.main.table.action_cursor(step)


def page(app: Explorer, pages: float) -> None:
    """Move the cursor by pages."""
    app.main.table.action_page(pages)


def edge(app: Explorer, side: int) -> None:
    """Move the cursor to the first or the last row."""
    app.main.table.action_edge(side)


def columns(app: Explorer, step: int) -> None:
    """Scroll to later or earlier tokens where not all fit."""
    app.main.table.action_columns(step)
