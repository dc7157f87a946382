"""What can be opened below the table of two runs."""

from __future__ import annotations

from typing import Final

from tui.state.comparing import AlignedRow
from tui.state.run_view import RunView
from tui.views.compare.pair_detail import PairDetail
from tui.views.compare.pair_pictures import PairPictures

_ROOM_FOR_BOTH: Final = 40
"""Lines of the screen from which detail and pictures together leave the table rows."""

Sides = tuple[RunView, RunView]


class PairPanes:
    """The detail and the pictures of both runs."""

    def __init__(self, *, ascii_only: bool) -> None:
        self.detail = PairDetail(ascii_only=ascii_only)
        self.pictures = PairPictures(ascii_only=ascii_only)

    def show(self, sides: Sides, pair: AlignedRow | None) -> None:
        """Show a row of two runs; the pictures are opened again only if they are visible."""
        self.detail.show(sides, pair)
        if self.pictures.has_class("-open"):
            self.pictures.show(sides)

    def toggle_detail(self, sides: Sides, pair: AlignedRow | None, height: int) -> None:
        """Open or close the detail, on a screen of so many lines."""
        self.detail.toggle()
        if height < _ROOM_FOR_BOTH or self.pictures.has_class("-large"):
            self.pictures.remove_class("-open")
        self.detail.show(sides, pair)

    def toggle_pictures(self, sides: Sides, height: int, *, large: bool) -> None:
        """Open or close the pictures, on a screen of so many lines."""
        self.pictures.show(sides)
        self.pictures.toggle(large=large)
        if height < _ROOM_FOR_BOTH or large:
            self.detail.remove_class("-open")

    def scroll_detail(self, pages: float) -> str:
        """Scroll the open detail; return why that is not possible, or nothing."""
        if self.detail.scroll_tokens(pages):
            return ""
        which = "last tokens that either run holds" if pages > 0 else "best tokens"
        return f"these are the {which} of this row"
