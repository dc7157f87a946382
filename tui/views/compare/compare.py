"""Two runs side by side, row by row, and where they differ."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import ClassVar

from textual.binding import Binding, BindingType

from tui.state.run_view import RunView
from tui.views.compare.pair_context import PairContext
from tui.views.compare.pair_screen import PairScreen
from tui.views.compare.pair_table import PairTable
from tui.views.compare.runs_plot import RunsPlot
from tui.views.compare.verdicts import where_they_part


class CompareTable(PairTable):
    """Shows any two runs, and how the probabilities of both answers change between them."""

    @property
    def verdict(self) -> str:
        """Return where the runs differ."""
        return where_they_part(self.rows.compared)


class Compare(PairScreen):
    """Shows two runs on the whole screen."""

    VIEW: ClassVar[str] = "compare"
    BINDINGS: ClassVar[list[BindingType]] = [Binding("O", "swap", show=False)]

    def __init__(self, left: RunView, right: RunView, context: PairContext) -> None:
        self._runs = context.runs
        pair = CompareTable(left, right, context.look(), ascii_only=context.ascii_only)
        super().__init__(pair, context)

    @property
    def keys(self) -> Sequence[str]:
        """Return the hints on which keys act."""
        key = self.key
        return (
            f"{key('zoom-detail')} detail", f"{key('plot')} plot", f"{key('track')} track",
            f"{key('find')} find", f"{key('columns')} columns", f"{key('picture')} pictures",
            "O swaps", f"{key('previous-run')}{key('next-run')} another run",
            f"{key('copy-row')} {key('copy-table')} copy", f"{key('fold')} folds",
            f"{key('export')} exports", f"{key('leave')} closes",
        )  # fmt: skip

    def performers(self) -> Mapping[str, Callable[[], object]]:
        """See `PairScreen`."""
        return {
            **super().performers(),
            "next-run": partial(self._step, 1),
            "previous-run": partial(self._step, -1),
        }

    def action_swap(self) -> None:
        """Swap the two runs."""
        left, right = self.sides
        self.put_runs(right.own, left.own, (self.place[1], self.place[0]))

    def plot(self) -> None:
        """Plot both runs."""
        self.app.push_screen(RunsPlot(self.sides, ascii_only=self._ascii))

    plot_measure = plot
    plot_token = plot

    def _step(self, step: int) -> None:
        """Compare the left run with the next or the previous of the others."""
        left, right = (side.own for side in self.sides)
        others = [run for run in self._runs() if run is not left]
        at = others.index(right) + step if right in others else -1
        if 0 <= at < len(others):
            self.put_runs(left, others[at])
        else:
            where = "newest" if step > 0 else "first"
            self.tell(f"the right run is the {where} of the runs beside the left one")
