"""Tokens followed over the layers: a plot, and beside it which colour is which token."""

from __future__ import annotations

import os
from time import monotonic
from typing import TYPE_CHECKING, ClassVar, Final

from rich.cells import cell_len
from rich.style import Style
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.geometry import Region
from textual.strip import Strip
from textual.timer import Timer
from textual.widget import Widget

from tui.numbers import figure
from tui.panes.strips import changed_span, strip_of
from tui.panes.table_rows import Segments
from tui.show import display_text
from tui.state.curves import Curve, Measure, curves_of
from tui.state.run_view import RunView
from tui.theme import HUES

if TYPE_CHECKING:
    from tui.panes.plot_canvas import Plot

DRAWN_EVERY: Final = 0.25
"""Seconds between two drawings while rows come in."""

LEGEND_WIDTH: Final = 26
_LEGEND_FROM: Final = 58
"""The legend has its place beside the plot in a pane of so many cells."""
_LEAST: Final = (36, 5)
_TITLES: Final = {
    Measure.PROBABILITY: "probability over the layers",
    Measure.LOG: "log probability (ln) over the layers",
    Measure.RANK: "rank over the layers (1 is the most probable)",
}
_LETTERS: Final = "abcdefghijklmnopqrstuvwxyz"
_LOWEST_LOG: Final = -30.0
_LAYER_STEPS: Final = (1, 2, 4, 5, 8, 10, 20, 25, 50, 100, 1000)


class Trajectories(Horizontal):
    """Shows the curves of a run and marks the cursor's layer; loads the plot when first opened."""

    ALLOW_SELECT = False
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "trajectories--answer",
        "trajectories--other",
        "trajectories--cursor",
        *(f"trajectories--hue-{index}" for index in range(1, HUES + 1)),
    }
    DEFAULT_CSS = """
    Trajectories { width: 100%; }
    Trajectories > .trajectories--answer { color: $answer; }
    Trajectories > .trajectories--other { color: $foreground; }
    Trajectories > .trajectories--cursor { color: $primary; }
    """ + "\n".join(
        f"Trajectories > .trajectories--hue-{index} {{ color: $hue-{index}; }}"
        for index in range(1, HUES + 1)
    )

    def __init__(self, *, ascii_only: bool, measure: Measure = Measure.PROBABILITY) -> None:
        super().__init__(id="trajectories")
        self._ascii = ascii_only
        self._letters = ascii_only or "NO_COLOR" in os.environ
        self.measure = measure
        self._run: RunView | None = None
        self._row = 0
        self._plot: Plot | None = None
        self._legend = Legend(ascii_only=ascii_only)
        self._drawn_at = 0.0
        self._due: Timer | None = None

    def compose(self) -> ComposeResult:
        """The legend; the plot comes when it is needed."""
        yield self._legend

    def show(self, run: RunView | None, row: int) -> None:
        """Show a run and mark a layer; drawn now, or as soon as the pace allows."""
        self._run, self._row = run, row
        if not self.display or self._due is not None:
            return
        wait = self._drawn_at + DRAWN_EVERY - monotonic()
        if wait > 0:
            self._due = self.set_timer(wait, self._draw)
        else:
            self._draw()

    def next_measure(self) -> str:
        """Plot the next measure; return its name."""
        self.measure = self.measure.next
        self._draw()
        return self.measure.value

    def on_resize(self) -> None:
        """What fits depends on the size."""
        self._legend.display = self.size.width >= _LEGEND_FROM
        if self.display:
            self.call_after_refresh(self._draw)

    def notify_style_update(self) -> None:
        """The theme has changed."""
        super().notify_style_update()
        if self.is_mounted and self._plot is not None:
            self.call_after_refresh(self._draw)

    def _draw(self) -> None:
        if self._due is not None:
            self._due.stop()
            self._due = None
        if not self.is_attached or not self.display:
            return
        self._drawn_at = monotonic()
        run = self._run
        curves, more = curves_of(run, self.measure) if run is not None else ((), 0)
        self._caption(run, more)
        styles = [self._style(curve) for curve in curves]
        letters = [_LETTERS[index] if self._letters else "" for index in range(len(curves))]
        self._legend.show(curves, styles, letters, self._row, self.measure)
        if self.size.width < _LEAST[0] or self.size.height < _LEAST[1]:
            return
        if self._plot is None:
            self._load()
            return
        plot = self._plot
        plot.clear()
        layers = run.run.layers if run is not None else 1
        _set_axes(plot, self.measure, curves, layers, plot.size.width)
        # The answer is drawn last, above the others.
        for curve, style, letter in sorted(
            zip(curves, styles, letters, strict=True), key=lambda entry: entry[0].is_answer
        ):
            points = _plotted(curve, self.measure)
            if points:
                plot.add_line(points, str(style), letter)
        plot.draw(self._row if run is not None else None, str(self._colour("cursor")))

    def _load(self) -> None:
        from tui.panes.plot_canvas import Plot

        self._plot = Plot(ascii_only=self._ascii)
        self.mount(self._plot, before=self._legend)
        self.call_after_refresh(self._draw)

    def _caption(self, run: RunView | None, more: int) -> None:
        title = _TITLES[self.measure] + (f", {more} more tokens" if more else "")
        if self.border_title != title:
            self.border_title = title
        formation = run.formation if run is not None else None
        subtitle = "" if formation is None else f"formation row {formation}: top-1 from here on"
        if self.border_subtitle != subtitle:
            self.border_subtitle = subtitle

    def _style(self, curve: Curve) -> Style:
        if curve.is_answer:
            return self._colour("answer") + Style(bold=True)
        return self._colour("other" if curve.hue is None else f"hue-{curve.hue % HUES + 1}")

    def _colour(self, name: str) -> Style:
        """Only the colour: the background is that of where it is used."""
        return Style(color=self.get_component_rich_style(f"trajectories--{name}").color)


class Legend(Widget):
    """Which colour is which token, and its value at the cursor."""

    ALLOW_SELECT = False
    DEFAULT_CSS = f"""
    Legend {{ width: {LEGEND_WIDTH}; height: 100%; }}
    """

    def __init__(self, *, ascii_only: bool) -> None:
        super().__init__()
        self._ascii = ascii_only
        self._lines: list[Segments] = []
        self._strips: list[Strip] = []

    def show(
        self,
        curves: tuple[Curve, ...],
        styles: list[Style],
        letters: list[str],
        row: int,
        measure: Measure,
    ) -> None:
        """Show the curves and their values in a row."""
        self._lines = [
            legend_line(curve, style, letter, row, measure, ascii_only=self._ascii)
            for curve, style, letter in zip(curves, styles, letters, strict=True)
        ]
        before, self._strips = self._strips, self._draw()
        if len(before) != len(self._strips):
            self.refresh()
            return
        spans = [changed_span(*pair) for pair in zip(before, self._strips, strict=True)]
        regions = [Region(span[0], y, span[1] - span[0], 1) for y, span in enumerate(spans) if span]
        if regions:
            self.refresh(*regions)

    def on_resize(self) -> None:
        """As many lines as fit."""
        self._strips = []

    def notify_style_update(self) -> None:
        """The theme has changed."""
        super().notify_style_update()
        self._strips = []

    def render_line(self, y: int) -> Strip:
        """Draw a line from what `show` has prepared."""
        if len(self._strips) != self.size.height:
            self._strips = self._draw()
        return self._strips[y]

    def _draw(self) -> list[Strip]:
        lines = self._lines + [[] for _ in range(self.size.height - len(self._lines))]
        base = self.rich_style
        return [
            strip_of([(text, base + style) for text, style in line], self.size.width, base)
            for line in lines[: self.size.height]
        ]


def legend_line(
    curve: Curve, style: Style, letter: str, row: int, measure: Measure, *, ascii_only: bool
) -> Segments:
    """Return a token with its sign and its value in a row, exactly as wide as the legend."""
    sign = letter or ("-" if ascii_only else "━")
    value = curve.points[row] if row < len(curve.points) else None
    if value is None:
        shown = "-"
    elif measure is Measure.PROBABILITY:
        shown = figure(value)
    elif measure is Measure.LOG:
        shown = f"{value:.2f}"
    else:
        shown = f"#{value:.0f}"
    width = LEGEND_WIDTH - 4 - 8
    text = display_text(curve.text, width, ascii_only=ascii_only)
    assert cell_len(text) == width
    return [(f" {sign} {text} {shown:>7} ", style)]


def _plotted(curve: Curve, measure: Measure) -> list[tuple[float, float]]:
    """The known points; a lower rank is higher up, by its order of magnitude."""
    from math import log10

    known = [(float(row), value) for row, value in enumerate(curve.points) if value is not None]
    if measure is Measure.RANK:
        return [(row, -log10(value)) for row, value in known]
    if measure is Measure.LOG:
        return [(row, max(value, _LOWEST_LOG)) for row, value in known]
    return known


def _set_axes(
    plot: Plot, measure: Measure, curves: tuple[Curve, ...], layers: int, width: int
) -> None:
    values = [y for curve in curves for _, y in _plotted(curve, measure)]
    if measure is Measure.PROBABILITY:
        low, high = 0.0, 1.0
        ticks = [(share / 100, f"{share}%") for share in (0, 25, 50, 75, 100)]
    elif measure is Measure.LOG:
        low, high = min([*values, -1.0]), 0.0
        height = next((step for step in (0.5, 1, 2, 5, 10) if low / step > -6), 10)
        ticks = [
            (-height * n, f"{-height * n:g}" if n else "0") for n in range(int(-low / height) + 1)
        ]
    else:
        low, high = min([*values, -1.0]), 0.0
        ticks = [(-float(n), f"#{10**n:,}"[:6]) for n in range(int(-low) + 1)]
    steps = (step for step in _LAYER_STEPS if layers / step * 6 < width)
    step = next(steps, layers or 1)
    x_ticks = [(float(row), str(row)) for row in range(0, layers + 1, step)]
    plot.show_axes(layers, low, high, ticks, x_ticks)
