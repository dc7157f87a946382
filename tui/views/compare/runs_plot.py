"""Any number of runs in one plot: the probability of a token over the rows of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Final

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from engine.records import Token
from tui.state.comparing import known_probability, of_one_model
from tui.state.curves import stretches
from tui.state.run_view import RunView
from tui.text.numbers import figure
from tui.text.show import display_text
from tui.theme import HUES
from tui.widgets.captions import put_subtitle, put_title
from tui.widgets.later import draw_later

if TYPE_CHECKING:
    from tui.widgets.plot_canvas import Plot

MOST: Final = 12
"""Most runs in one plot; more could not be told apart."""
_TICKS: Final = ((0.0, "0%"), (0.25, "25%"), (0.5, "50%"), (0.75, "75%"), (1.0, "100%"))
_NAME: Final = 30
_LETTERS: Final = "abcdefghijkl"


class RunsPlot(ModalScreen[None]):
    """Draws a line for each run: of the first run's answer, or of its own."""

    VIEW: ClassVar[str] = "history"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,P", "dismiss", show=False),
        Binding("asterisk", "own", show=False),
    ]
    CSS = """
    RunsPlot Static { width: 44; padding: 1; }
    RunsPlot.-ascii .dialog { border: ascii $primary; }
    """

    def __init__(self, runs: Sequence[RunView], *, ascii_only: bool) -> None:
        super().__init__()
        self._runs = tuple(runs)[:MOST]
        self._left_out = len(runs) - len(self._runs)
        self._ascii = ascii_only
        self._of_own = False
        self._plot: Plot | None = None
        self.set_class(ascii_only, "-ascii")

    def compose(self) -> ComposeResult:
        """Lay out the plot and its legend."""
        from tui.widgets.plot_canvas import Plot

        self._plot = Plot(ascii_only=self._ascii)
        with Vertical(classes="dialog whole-dialog"), Horizontal():
            yield self._plot
            yield Static(markup=False)

    def on_resize(self) -> None:
        """Draw the plot as large as possible."""
        draw_later(self, self._draw)

    def action_own(self) -> None:
        """Draw each run's own answer, or that of the first run in all."""
        self._of_own = not self._of_own
        self._draw()

    def _draw(self) -> None:
        plot, answer = self._plot, self._runs[0].answer
        if plot is None or not plot.is_mounted:
            return
        deepest = max(view.run.layers for view in self._runs)
        legend: list[tuple[str, str]] = []
        plot.clear()
        plot.show_axes(deepest, 0.0, 1.0, _TICKS)
        for index, view in enumerate(self._runs):
            token = view.answer if self._of_own else answer
            colour = "answer" if index == 0 else f"hue-{(index - 1) % HUES + 1}"
            values = self._values(view, token)
            scale = deepest / max(view.run.layers, 1)
            style = self._variable(colour)
            for stretch in stretches(values):
                points = [(layer * scale, value) for layer, value in stretch]
                plot.add_line(points, style)
                if self._lettered:
                    xs, ys = zip(*points[index % 3 :: 3] or points, strict=True)
                    marked = "" if self._ascii else style
                    plot.scatter(xs, ys, marker=_LETTERS[index], marker_style=marked)
            sign = _LETTERS[index] if self._lettered else "━"
            name = display_text(view.name, _NAME, spaces=False, ascii_only=self._ascii).rstrip()
            at_end = values[-1] if values else None
            last = "not known at the end" if at_end is None else figure(at_end).strip()
            said = display_text(token.text, 12, ascii_only=self._ascii).rstrip() if token else "-"
            legend.append((f"{sign} {name}\n  p of {said} {last}\n", f"${colour}"))
        if self._left_out:
            legend.append((f"and {self._left_out} more\n", "$faint"))
        self.query_one(Static).update(Content.assemble(*legend))
        plot.draw(None, "")
        box = self.query_one(Vertical)
        of = "its own answer" if self._of_own else "the first run's answer"
        put_title(box, f"{len(self._runs)} runs: p of {of} over the rows")
        put_subtitle(box, "* own answers or the first run's, q closes")

    def _values(self, view: RunView, token: Token | None) -> list[float | None]:
        """Return the token's probability in every row of a run; None where it is not known."""
        if token is None:
            return []
        by_text = not of_one_model(self._runs[0], view)
        rows = range(view.run.layers + 1)
        return [known_probability(view, layer, token, by_text) for layer in rows]

    @property
    def _lettered(self) -> bool:
        """Whether letters tell the lines apart: without colours, or with more runs than colours."""
        return self._ascii or len(self._runs) > HUES + 1

    def _variable(self, name: str) -> str:
        variables: dict[str, str] = getattr(self.app, "theme_variables", {})
        return variables.get(name, "white").removeprefix("ansi_")
