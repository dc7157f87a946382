"""Titles in the borders of panes and dialogs."""

from __future__ import annotations

from textual.content import Content
from textual.widget import Widget


def put_title(widget: Widget, text: str | Content) -> None:
    """Set the title in the upper border literally: in a plain string Textual would read brackets
    as markup. Nothing is painted if the title is unchanged."""
    title = Content(text) if isinstance(text, str) else text
    if widget.border_title != title.markup:
        widget.border_title = title  # type: ignore[assignment]


def put_subtitle(widget: Widget, text: str | Content) -> None:
    """Set the subtitle in the lower border; see `put_title`."""
    subtitle = Content(text) if isinstance(text, str) else text
    if (widget.border_subtitle or "") != subtitle.markup:
        widget.border_subtitle = subtitle  # type: ignore[assignment]
