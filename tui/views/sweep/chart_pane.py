"""A chart of a report in cells: what it shows, a legend, the plot, and what is across."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, ClassVar, Final

from rich.cells import cell_len
from rich.style import Style
from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.geometry import Size
from textual.widgets import Static

from tui.text.show import display_text
from tui.theme import HUES
from tui.widgets.later import draw_later
from tui.widgets.letters import letter_of

if TYPE_CHECKING:
    from engine.sweeps.charts import Chart, Line
    from tui.widgets.plot_canvas import Plot

Points = list[tuple[float, float]]

_NAME: Final = 40
"""Most cells of a line's name."""
_STEPS: Final = (1.0, 2.0, 2.5, 5.0, 10.0)
_PLOT_HEIGHT: Final = 11


class ChartPane(Vertical):
    """Draws a chart once `load` is called; until then its place is empty.

    Lines have colours; where these do not tell them apart, they have letters, too.
    """

    ALLOW_SELECT = False
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        f"chart-pane--hue-{index}" for index in range(1, HUES + 1)
    }
    DEFAULT_CSS = f"""
    ChartPane {{ width: 100%; height: auto; margin: 1 0 0 0; }}
    ChartPane > .chart-pane--legend {{ width: 100%; height: auto; }}
    ChartPane > .chart-pane--place {{ width: 100%; height: {_PLOT_HEIGHT}; }}
    ChartPane > .chart-pane--across {{
        width: 100%; height: 1; color: $faint; padding: 0 0 0 7;
    }}
    """ + "\n".join(
        f"ChartPane > .chart-pane--hue-{index} {{ color: $hue-{index}; }}"
        for index in range(1, HUES + 1)
    )

    def __init__(self, chart: Chart, *, ascii_only: bool) -> None:
        super().__init__()
        self._chart = chart
        self._ascii = ascii_only
        colourless = ascii_only or "NO_COLOR" in os.environ
        self._has_letters = colourless or len(chart.lines) > HUES
        self._legend = Static(classes="chart-pane--legend", markup=False)
        self._place = Vertical(classes="chart-pane--place")
        self._plot: Plot | None = None
        self._drawn: Size | None = None
        """The size of the plot that has been drawn in these colours."""

    def compose(self) -> ComposeResult:
        """Lay out the parts; the plot is added when it is seen."""
        yield self._legend
        yield self._place
        across = "row (0, emb: the embedding; out: the last)" if self._is_by_row else "layer"
        left_out = f"; {self._chart.left_out}" if self._chart.left_out else ""
        yield Static(across + left_out, classes="chart-pane--across", markup=False)

    @property
    def is_loaded(self) -> bool:
        """Whether the plot has been drawn, or will be at once."""
        return self._plot is not None

    def load(self) -> None:
        """Add the plot, and draw it unless it has been drawn at this size."""
        if self._plot is None:
            from tui.widgets.plot_canvas import Plot

            self._plot = Plot(ascii_only=self._ascii)
            self._place.mount(self._plot)
        draw_later(self, self._draw)

    def on_resize(self) -> None:
        """Draw for the new size."""
        self._legend.update(self._legend_text())
        if self._plot is not None:
            draw_later(self, self._draw)

    def notify_style_update(self) -> None:
        """Redraw with the colours of the new theme."""
        super().notify_style_update()
        if self.is_mounted:
            self._legend.update(self._legend_text())
            self._drawn = None
            if self._plot is not None:
                draw_later(self, self._draw)

    @property
    def _is_by_row(self) -> bool:
        return self._chart.by == "row"

    def _draw(self) -> None:
        plot = self._plot
        if plot is None:
            return
        if not plot.is_mounted or not plot.size.height:
            draw_later(self, self._draw)
            return
        if plot.size == self._drawn:
            return
        self._drawn = plot.size
        plot.clear()
        chart, last = self._chart, max(self._chart.places - 1, 1)
        low, high = value_range(chart)
        ends = ("emb", "out") if self._is_by_row else ("0", str(last))
        plot.show_axes(last, low, high, value_ticks(low, high, chart.is_share), ends)
        for index, line in enumerate(chart.lines):
            style = str(self._style(index))
            for points in stretches(line, chart.is_stepped):
                plot.add_line(points, style)
            if self._has_letters:
                known = [(x, float(y)) for x, y in enumerate(line.values) if math.isfinite(y)]
                plot.add_letters(known, index, last, style)
        plot.draw(None, "")

    def _style(self, index: int) -> Style:
        """Return a style with only the colour: the background depends on where it is used."""
        name = f"chart-pane--hue-{index % HUES + 1}"
        return Style(color=self.get_component_rich_style(name).color)

    def _legend_text(self) -> Text:
        def shown(text: str, cells: int | None = None) -> str:
            fitted = display_text(text, cells, spaces=False, ascii_only=self._ascii)
            return fitted.rstrip()

        text = Text(shown(self._chart.title))
        used = text.cell_len
        for index, line in enumerate(self._chart.lines):
            sign = "-" if self._ascii else "━"
            sign = letter_of(index) if self._has_letters else sign
            entry = f"{sign} {shown(line.name, min(cell_len(shown(line.name)), _NAME))}"
            # A name stays in one piece where the legend takes several lines.
            fits = used + 2 + cell_len(entry) <= self.size.width
            text.append("  " if fits else "\n")
            text.append(entry, self._style(index))
            used = (used + 2 if fits else 0) + cell_len(entry)
        return text


def stretches(line: Line, is_stepped: bool) -> Iterator[Points]:
    """Yield the points of a line between values that are not known."""
    points: Points = []
    for place, value in enumerate(map(float, line.values)):
        if not math.isfinite(value):
            if points:
                yield points
            points = []
            continue
        if is_stepped and points:
            points.append((float(place), points[-1][1]))
        points.append((float(place), value))
    if points:
        yield points


def value_range(chart: Chart) -> tuple[float, float]:
    """Return the ends of the vertical axis: 0 is always on it, and all of 0 to 1 for shares."""
    values = [float(v) for line in chart.lines for v in line.values if math.isfinite(v)]
    low, high = min([0.0, *values]), max([0.0, *values])
    if chart.is_share:
        high = max(high, 1.0)
    return (low, high) if high > low else (low, low + 1.0)


def value_ticks(low: float, high: float, is_share: bool) -> Sequence[tuple[float, str]]:
    """Return about four ticks at round numbers."""
    scale = 10.0 ** math.floor(math.log10((high - low) / 4))
    step = next(step for step in _STEPS if step * scale * 4.001 >= high - low) * scale
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    ticks = [number * step for number in range(first, last + 1)]
    return [(tick, f"{tick:.0%}" if is_share else f"{tick:.3g}") for tick in ticks]
