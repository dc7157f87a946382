"""The words in the borders of panes and boxes."""

from __future__ import annotations

from textual.content import Content
from textual.widget import Widget


def put_title(widget: Widget, text: str) -> None:
    """Put words in the upper border, as they are: of a plain string Textual would take brackets
    for markup. Nothing is painted where they are there already."""
    title = Content(text)
    if widget.border_title != title.markup:
        widget.border_title = title  # type: ignore[assignment]


def put_subtitle(widget: Widget, text: str) -> None:
    """Put words in the lower border, in the same way."""
    subtitle = Content(text)
    if (widget.border_subtitle or "") != subtitle.markup:
        widget.border_subtitle = subtitle  # type: ignore[assignment]
