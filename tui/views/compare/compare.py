"""Two runs side by side, row by row, and where they differ."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.binding import Binding, BindingType

from engine.records import Token
from tui.state.run_view import RunView
from tui.views.compare.pair_rows import PairRows
from tui.views.compare.pair_table import PairScreen, PairTable
from tui.views.compare.runs_plot import RunsPlot
from tui.views.compare.verdicts import where_they_part


class CompareTable(PairTable):
    """Shows any two runs, and how the probabilities of both answers change between them."""

    @property
    def verdict(self) -> str:
        """Return where the runs differ."""
        return where_they_part(self.rows.compared)

    @property
    def answers(self) -> Sequence[Token]:
        """Return both answers, or the one that the runs share."""
        return self.rows.compared.answers

    def swap(self) -> None:
        """Swap the two runs."""
        left, right = self.rows.sides
        self.rows = PairRows(right, left, ascii_only=self._ascii)
        self.forget_rows()


class Compare(PairScreen):
    """Shows two runs on the whole screen."""

    VIEW: ClassVar[str] = "compare"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("s", "swap", show=False),
        Binding("P", "plot", show=False),
    ]

    def __init__(self, left: RunView, right: RunView, *, ascii_only: bool) -> None:
        self._pair = CompareTable(left, right, ascii_only=ascii_only)
        super().__init__(self._pair, "two runs", ascii_only=ascii_only)

    @property
    def keys(self) -> Sequence[str]:
        """Return the hints on which keys act."""
        return (
            "enter detail", "p pictures", "P plot", "s swaps", "y Y copy", "J K more tokens",
            "x exports", "q closes",
        )  # fmt: skip

    def action_swap(self) -> None:
        """Swap the two runs."""
        self._pair.swap()
        self._follow()

    def action_plot(self) -> None:
        """Plot both runs."""
        self.app.push_screen(RunsPlot(self._pair.rows.sides, ascii_only=self._ascii))
