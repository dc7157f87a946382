"""A plot of what the picture adds over the layers: the answer's probability with and without it,
and the divergence of the two runs."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.content import Content
from textual.widgets import Static

from engine.records import Comparison
from tui.state.run_view import RunView
from tui.text.show import display_text
from tui.widgets.later import draw_later
from tui.widgets.letters import letter_of

if TYPE_CHECKING:
    from tui.widgets.plot_canvas import Plot

Points = list[tuple[float, float]]

_TICKS: Final = ((0.0, "0"), (0.25, "0.25"), (0.5, "0.5"), (0.75, "0.75"), (1.0, "1"))
_COLOURS: Final = ("answer", "hue-4", "primary")


class DivergencePlot(Horizontal):
    """Shows three lines between 0 and 1 with a legend."""

    DEFAULT_CSS = """
    DivergencePlot { height: 14; display: none; }
    DivergencePlot.-open { display: block; }
    DivergencePlot Static { width: 34; padding: 1; }
    """

    def __init__(
        self, picture: RunView, other: RunView, comparison: Comparison, *, ascii_only: bool
    ) -> None:
        super().__init__()
        self._ascii = ascii_only
        self._lettered = ascii_only or "NO_COLOR" in os.environ
        self._layers = picture.run.layers
        answer = picture.answer
        shown = display_text(answer.text, 12, ascii_only=ascii_only).strip() if answer else ""
        self._names = (f"p of {shown} with the picture", f"p of {shown} without it", "JS, in nats")
        token = answer.id if answer is not None else -1
        js = [(float(row.layer), row.js) for row in comparison.rows if row.js is not None]
        self._lines = (answer_points(picture, token), answer_points(other, token), js)
        self._plot: Plot | None = None

    def compose(self) -> ComposeResult:
        """Lay out the legend; the plot is added when it is opened."""
        yield Static(markup=False)

    def toggle(self) -> None:
        """Open or close the plot."""
        self.toggle_class("-open")
        if self.has_class("-open") and self._plot is None:
            from tui.widgets.plot_canvas import Plot

            self._plot = Plot(ascii_only=self._ascii)
            self.mount(self._plot, before=0)
        draw_later(self, self._draw)

    def on_resize(self) -> None:
        """Draw the plot again, as wide as possible."""
        draw_later(self, self._draw)

    def _draw(self) -> None:
        plot = self._plot
        if plot is None or not plot.is_mounted or not self.has_class("-open"):
            return
        legend = [
            (f"{letter_of(index) if self._lettered else '━'} {name}\n", f"${colour}")
            for index, (name, colour) in enumerate(zip(self._names, _COLOURS, strict=True))
        ]
        self.query_one(Static).update(Content.assemble(*legend))
        variables = self.app.theme_variables
        plot.clear()
        plot.show_axes(self._layers, 0.0, 1.0, _TICKS)
        styles = [variables[colour].removeprefix("ansi_") for colour in _COLOURS]
        for points, style in zip(self._lines, styles, strict=True):
            if points:
                plot.add_line(points, style)
        if self._lettered:  # on top of all lines, some of which lie on others
            for index, (points, style) in enumerate(zip(self._lines, styles, strict=True)):
                plot.add_letters(points, index, self._layers, style)
        plot.draw(None, "")


def answer_points(run: RunView, token: int) -> Points:
    """Return points of layer and probability, for each row of a run in which the token's is
    known."""
    tracked = next((known for known in run.run.tracked if known.id == token), None)
    if tracked is None:
        return []
    known = enumerate(tracked.probability)
    return [(float(row), value) for row, value in known if value is not None]
