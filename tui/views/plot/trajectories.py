"""Tokens over the layers: a plot with a legend."""

from __future__ import annotations

import os
from collections.abc import Sequence
from time import monotonic
from typing import TYPE_CHECKING, ClassVar, Final

from rich.cells import cell_len
from rich.style import Style
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.strip import Strip
from textual.timer import Timer
from textual.widgets import Static

from engine.records import Run
from tui.state.curves import Curve, curves_of
from tui.state.measures import Measure
from tui.state.run_view import Phase, RunView
from tui.text.show import display_text, fit_pieces, show_pieces
from tui.theme import HUES
from tui.widgets.captions import put_subtitle, put_title
from tui.widgets.drawn_lines import DrawnLines
from tui.widgets.letters import letter_of, lettered
from tui.widgets.strips import strip_of
from tui.widgets.styles import Segments
from tui.widgets.view_context import ViewContext

if TYPE_CHECKING:
    from tui.widgets.plot_canvas import Plot

DRAWN_EVERY: Final = 0.25
"""Least time in seconds between two drawings while rows arrive."""

LEGEND_WIDTH: Final = 26
_LEGEND_FROM: Final = 58
"""Width of the pane in cells from which the legend is beside the plot; below it is one line."""
_ENTRY: Final = 12
"""Most cells of a token in a one-line legend."""
_LEAST: Final = (36, 5)
_DEFINED_FROM: Final = 72
"""Width in cells from which the caption defines the formation row."""

Points = list[tuple[float, float]]


class Trajectories(Horizontal):
    """Shows the curves of a run and marks the cursor's layer; loads the plot when first opened."""

    ALLOW_SELECT = False
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "trajectories--answer",
        "trajectories--other",
        "trajectories--faint",
        "trajectories--cursor",
        *(f"trajectories--hue-{index}" for index in range(1, HUES + 1)),
    }
    DEFAULT_CSS = """
    Trajectories { width: 100%; }
    Trajectories > #no-plot { width: 1fr; height: 1; color: $faint; display: none; }
    Trajectories.-message > #no-plot { display: block; }
    Trajectories.-message > Plot, Trajectories.-message > Legend { display: none; }
    Trajectories.-slim > Legend { dock: top; width: 100%; height: 1; }
    Trajectories > .trajectories--answer { color: $answer; }
    Trajectories > .trajectories--other { color: $foreground; }
    Trajectories > .trajectories--faint { color: $faint; }
    Trajectories > .trajectories--cursor { color: $primary; }
    """ + "\n".join(
        f"Trajectories > .trajectories--hue-{index} {{ color: $hue-{index}; }}"
        for index in range(1, HUES + 1)
    )

    def __init__(self, context: ViewContext) -> None:
        super().__init__()
        ascii_only = context.ascii_only
        self._ascii = ascii_only
        self._remembered = context.remembered
        self._colourless = ascii_only or "NO_COLOR" in os.environ
        self._dot = "@" if ascii_only else "●"
        self.measure = _measure(context.startup.plot or context.remembered.plot)
        self._leaders = False
        """Whether every token that was top-1 in some row is drawn."""
        self._run: RunView | None = None
        self._row = 0
        self._plot: Plot | None = None
        self._legend = Legend(ascii_only=ascii_only)
        self._message = Static(id="no-plot", markup=False)
        self._is_running = False
        self._drawn: Run | None = None
        """The record of the run that was drawn last."""
        self._drawn_at = 0.0
        self._due: Timer | None = None

    def compose(self) -> ComposeResult:
        """Lay out the legend and a line for messages; the plot is added when it is needed."""
        yield self._message
        yield self._legend

    def show(self, run: RunView | None, row: int) -> None:
        """Show a run and mark a layer, as soon as the pace allows: at once where a run has ended,
        and a while after a run has begun, since a quick one is drawn only when it has ended."""
        was_running = self._is_running
        self._run, self._row = run, row
        self._is_running = run is not None and run.phase is Phase.RUNNING
        begins = self._is_running and not was_running
        has_ended = run is not None and not self._is_running and run.run is not self._drawn
        if begins:
            self._drawn_at = monotonic()
        if not self.display or (self._due is not None and not has_ended):
            return
        wait = 0.0 if has_ended else self._drawn_at + DRAWN_EVERY - monotonic()
        if wait > 0:
            self._due = self.set_timer(wait, self._draw)
        else:
            self._draw()

    def next_measure(self) -> None:
        """Plot the next measure, and remember it for the next start."""
        self.measure = self.measure.next
        self._remembered.note(plot=self.measure.value)
        self._draw()

    def toggle_leaders(self) -> bool:
        """Draw all that was top-1, or only the answer and what is tracked; return whether all
        are."""
        self._leaders = not self._leaders
        self._draw()
        return self._leaders

    def on_resize(self) -> None:
        """Lay out and draw again for the new size."""
        self.set_class(self.size.width < _LEGEND_FROM, "-slim")
        if self.display:
            self.call_after_refresh(self._draw)

    def notify_style_update(self) -> None:
        """Redraw with the colours of the new theme."""
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
        self._drawn = run.run if run is not None else None
        self._caption(run)
        message = self._why_not(run)
        if message and self._message.content != message:
            self._message.update(message)
        if bool(message) != self.has_class("-message"):
            self.set_class(bool(message), "-message")
            self.call_after_refresh(self._draw)  # the parts get their new sizes only then
            return
        if run is None or message:
            return
        if self._plot is None:
            self._load()
        if self._plot is None or not self._plot.is_mounted:
            self.call_after_refresh(self._draw)
            return
        curves, more = curves_of(run, self.measure, leaders=self._leaders)
        styles = [self._style(curve) for curve in curves]
        letters = self._letters(curves, styles)
        faint = self._colour("faint")
        self._legend.show(curves, styles, letters, self._row, self.measure, more, faint)
        plot = self._plot
        plot.clear()
        width, height = plot.size.width - plot.margin_left - 2, plot.size.height - 3
        _set_axes(plot, self.measure, curves, run.run.layers, height)
        # The answer is drawn last, on top of the others.
        for curve, style, letter in sorted(
            zip(curves, styles, letters, strict=True), key=lambda entry: entry[0].is_answer
        ):
            for stretch in curve.stretches:
                plot.add_line(_plotted(stretch, self.measure), str(style))
            if letter:
                some = lettered(curve.known, curve.hue or 0, run.run.layers, width)
                self._scatter(_plotted(some, self.measure), letter, style)
        formed = _formation(run)
        formation = [(row, y) for row, y in curves[0].known if row == formed] if curves else []
        self._scatter(_plotted(formation, self.measure), self._dot, self._colour("answer"))
        plot.draw(self._row, str(self._colour("cursor")))

    def _scatter(self, points: Points, marker: str, style: Style) -> None:
        if points and self._plot is not None:
            xs, ys = zip(*points, strict=True)
            self._plot.scatter(xs, ys, marker=marker, marker_style=str(style))

    def _load(self) -> None:
        from tui.widgets.plot_canvas import Plot

        self._plot = Plot(ascii_only=self._ascii)
        self.mount(self._plot, before=self._legend)

    def _why_not(self, run: RunView | None) -> str:
        if self.size.width < _LEAST[0] or self.size.height < _LEAST[1]:
            return f"the plot needs {_LEAST[0]} x {_LEAST[1]} cells"
        return "no run yet to plot" if run is None else ""

    def _caption(self, run: RunView | None) -> None:
        put_title(self, self.measure.caption)
        formed = _formation(run)
        if run is not None and run.refused:
            subtitle = "the proof failed: do not believe these curves"
        elif formed is None:
            subtitle = ""
        else:
            wide = self.size.width >= _DEFINED_FROM
            is_own = run is None or run.own is run
            what = "the answer" if is_own else "the next token here"
            subtitle = f"{self._dot} formation row {formed}" + (
                f", the first from which {what} stays top-1" if wide else ": top-1 for good"
            )
        put_subtitle(self, subtitle)

    def _letters(self, curves: Sequence[Curve], styles: list[Style]) -> list[str]:
        """Return a letter for each curve where colours do not tell them apart; a curve keeps its
        letter."""
        if not self._colourless and len(set(styles)) == len(styles):
            return [""] * len(curves)
        letters: list[str] = []
        for curve in curves:
            place = curve.hue or 0
            while letter_of(place) in letters:
                place += 1
            letters.append(letter_of(place))
        return letters

    def _style(self, curve: Curve) -> Style:
        if curve.is_answer:
            return self._colour("answer") + Style(bold=True)
        return self._colour("other" if curve.hue is None else f"hue-{curve.hue % HUES + 1}")

    def _colour(self, name: str) -> Style:
        """Return a style with only the colour: the background depends on where it is used."""
        return Style(color=self.get_component_rich_style(f"trajectories--{name}").color)


class Legend(DrawnLines):
    """Shows the colour of each token and its value at the cursor."""

    DEFAULT_CSS = f"""
    Legend {{ width: {LEGEND_WIDTH}; height: 100%; }}
    """

    def __init__(self, *, ascii_only: bool) -> None:
        super().__init__()
        self._ascii = ascii_only
        self._entries: list[tuple[Curve, Style, str]] = []
        self._row = 0
        self._measure = Measure.PROBABILITY
        self._more = 0
        self._faint = Style()

    def show(
        self,
        curves: Sequence[Curve],
        styles: list[Style],
        letters: list[str],
        row: int,
        measure: Measure,
        more: int,
        faint: Style,
    ) -> None:
        """Show the curves with their values in a row, and how many more are left out."""
        self._entries = list(zip(curves, styles, letters, strict=True))
        self._row, self._measure, self._more, self._faint = row, measure, more, faint
        self.redraw()

    def draw(self) -> list[Strip]:
        """See `DrawnLines.draw`: as many lines as fit."""
        height = self.size.height
        lines = [self._one_line()] if height == 1 else self._column(height)
        base = self.rich_style
        return [
            strip_of([(text, base + style) for text, style in line], self.size.width, base)
            for line in lines
        ]

    def _column(self, height: int) -> list[Segments]:
        """Return a heading, a line for each curve, and how many curves have no line."""
        room = max(height - 1, 0)
        if self._more or len(self._entries) > room:
            room = max(room - 1, 0)
        shown = self._entries[:room]
        more = self._more + len(self._entries) - len(shown)
        lines: list[Segments] = [[(f"row {self._row} ".rjust(LEGEND_WIDTH), self._faint)]]
        lines += [
            legend_line(curve, style, letter, self._row, self._measure, ascii_only=self._ascii)
            for curve, style, letter in shown
        ]
        if more:
            lines.append([(f"   and {more} more", self._faint)])
        return lines[:height]

    def _one_line(self) -> Segments:
        """Return as many curves as fit on one line, and how many do not fit."""
        segments: Segments = []
        used, left = 0, self._more + len(self._entries)
        for curve, style, letter in self._entries:
            pieces = show_pieces(curve.text, ascii_only=self._ascii)
            width = min(sum(piece.width for piece in pieces), _ENTRY)
            text = "".join(
                piece.text for piece in fit_pieces(pieces, width, ascii_only=self._ascii)
            )
            value = _value(curve, self._row, self._measure)
            entry = f" {_sign(letter, self._ascii)} {text} {value} "
            count = f" +{left - 1}" if left > 1 else ""
            if used + cell_len(entry) + len(count) > self.size.width:
                break
            segments.append((entry, style))
            used, left = used + cell_len(entry), left - 1
        return [*segments, (f" +{left}", self._faint)] if left else segments


def legend_line(
    curve: Curve, style: Style, letter: str, row: int, measure: Measure, *, ascii_only: bool
) -> Segments:
    """Return a token with its sign and its value in a row, exactly as wide as the legend."""
    text = display_text(curve.text, LEGEND_WIDTH - 4 - 8, ascii_only=ascii_only)
    value = _value(curve, row, measure)
    return [(f" {_sign(letter, ascii_only)} {text} {value:>7} ", style)]


def _sign(letter: str, ascii_only: bool) -> str:
    return letter or ("-" if ascii_only else "━")


def _value(curve: Curve, row: int, measure: Measure) -> str:
    value = curve.points[row] if row < len(curve.points) else None
    if value is None:
        return "-"
    return measure.shown(value)


def _measure(name: str | None) -> Measure:
    return next((measure for measure in Measure if measure.value == name), Measure.PROBABILITY)


def _formation(run: RunView | None) -> int | None:
    return None if run is None or run.refused else run.formation


def _plotted(points: Sequence[tuple[int, float]], measure: Measure) -> Points:
    """Return the points in plot coordinates."""
    return [(float(row), measure.height(value)) for row, value in points]


def _set_axes(
    plot: Plot,
    measure: Measure,
    curves: Sequence[Curve],
    layers: int,
    height: int,
) -> None:
    """Fix the axes for a plot of this size in cells."""
    heights = [y for curve in curves for _, y in _plotted(curve.known, measure)]
    low, high, ticks = measure.axis(heights, height)
    plot.show_axes(layers, low, high, ticks)
