"""Cells as an eye sees them: what pyte holds, without what makes no difference."""

from __future__ import annotations

import pyte

Seen = tuple[str, str, str, tuple[bool, ...]]


def seen_of(shown: pyte.screens.Char) -> Seen:
    marks = (
        shown.bold,
        shown.italics,
        shown.underscore,
        shown.strikethrough,
        shown.reverse,
        shown.blink,
    )
    return as_seen(shown.data, shown.fg, shown.bg, marks)


def as_seen(text: str, fg: str, bg: str, marks: tuple[bool, ...]) -> Seen:
    """What an eye tells apart: not the foreground of a blank, nor which of two half-blocks of two
    colours is drawn."""
    bold, italic, *others = marks
    if text in ("▀", "▄") and "default" not in (fg, bg) and not any(marks):
        if fg == bg:
            text = " "
        elif text == "▄":
            text, fg, bg = "▀", bg, fg
    if text == " " and not any(others):
        fg, bold, italic = "", False, False
    return text, fg, bg, (bold, italic, *others)
