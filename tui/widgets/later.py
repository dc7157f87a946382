"""What is drawn after the next refresh, when the parts of a widget have their new sizes."""

from __future__ import annotations

from collections.abc import Callable

from textual.widget import Widget


def draw_later(widget: Widget, draw: Callable[[], object]) -> None:
    """Call `draw` after the next refresh, unless the widget is hidden or closing by then: a screen
    that closes may have lost its parts already."""

    def draw_if_shown() -> None:
        if widget.is_attached and widget.display:
            draw()

    widget.call_after_refresh(draw_if_shown)
