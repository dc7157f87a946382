"""A list of rows of which some may be folded into others."""

from __future__ import annotations

from bisect import bisect_right

from tui.widgets.row_list import RowList


class FoldedList(RowList):
    """Has a line for every row that is not folded."""

    def __init__(self, *, ascii_only: bool) -> None:
        super().__init__(ascii_only=ascii_only)
        self._unfolded: tuple[int, ...] | None = None
        """The rows that are shown, in order; None while all are."""

    @property
    def line_count(self) -> int:
        """Return the number of rows that are not folded."""
        return self.count if self._unfolded is None else len(self._unfolded)

    def line_of(self, row: int) -> int:
        """Return the line of a row, or of the one into which it is folded."""
        if self._unfolded is None:
            return row
        return max(bisect_right(self._unfolded, row) - 1, 0)

    def row_on(self, line: int) -> int:
        """Return the row on a line."""
        if self._unfolded is None or not self._unfolded:
            return line
        return self._unfolded[min(line, len(self._unfolded) - 1)]
