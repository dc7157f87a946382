"""Two runs side by side, row by row, and where they part."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.binding import Binding, BindingType

from engine.records import Token
from tui.state.run_view import RunView
from tui.views.compare.pair_rows import PairRows
from tui.views.compare.pair_table import PairScreen, PairTable
from tui.views.compare.verdicts import where_they_part


class CompareTable(PairTable):
    """Any two runs, and what became of the answers of both."""

    @property
    def verdict(self) -> str:
        """Where the runs part."""
        return where_they_part(self.rows.compared)

    @property
    def answers(self) -> Sequence[Token]:
        """Both answers, or the one that both have."""
        return self.rows.compared.answers

    def swap(self) -> None:
        """Put the left run to the right."""
        left, right = self.rows.sides
        self.rows = PairRows(right, left, ascii_only=self._ascii)
        self.forget_rows()


class Compare(PairScreen):
    """Two runs, over the whole screen."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("s", "swap", show=False)]

    def __init__(self, left: RunView, right: RunView, *, ascii_only: bool) -> None:
        self._pair = CompareTable(left, right, ascii_only=ascii_only)
        super().__init__(self._pair, "two runs", ascii_only=ascii_only)

    @property
    def keys(self) -> str:
        """What can be pressed."""
        return "jk rows, s swaps the sides, q closes"

    def action_swap(self) -> None:
        """Put the left run to the right."""
        self._pair.swap()
