"""The notes on the model, cut to the line on which they stay visible."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len
from textual.content import Content

from tui.text.show import display_text

_LEAST = 12
"""With fewer cells left, a note would say nothing."""
_LEAST_GAP = 3


def notes_line(notes: Sequence[str], place: str, room: int, *, ascii_only: bool) -> Content:
    """Return the lower border of the table: the notes on the left, cut to what is left of `room`
    cells, and the place on the right. The border's line goes on between them, so that neither moves
    when the other changes."""
    left = room - (cell_len(place) + _LEAST_GAP if place else 0)
    if not notes or left < _LEAST:
        return Content(place)
    count = f"{len(notes)} notes: " if len(notes) > 1 else ""
    # A note may be as long as a file; what cannot be seen is not made safe for display.
    text = "! " + count + "; ".join(note[:left] for note in notes[:left])
    shown = display_text(text, spaces=False, ascii_only=ascii_only)
    if cell_len(shown) > left:
        shown = display_text(text, left, spaces=False, ascii_only=ascii_only).rstrip()
    end = f" {place}" if place else ""
    gap = room - cell_len(shown) - cell_len(end)
    line = (" " + ("-" if ascii_only else "─") * (gap - 1)) if gap > 0 else ""
    return Content.assemble((shown, "$warning"), (line, "$frame"), end)
