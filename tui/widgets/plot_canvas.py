"""The plot: textual-plot's widget, changed to redraw only the cells that differ.

It is imported when the plot is first opened, because it needs numpy.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any, ClassVar, Final, Self

from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Grid
from textual.events import MouseScrollDown, MouseScrollUp
from textual.geometry import Region
from textual.strip import Strip
from textual_hires_canvas import Canvas, HiResMode
from textual_plot import AxisFormatter, PlotWidget

from tui.widgets.letters import letter_of, lettered
from tui.widgets.strips import changed_regions

_LIGHT: Final = str.maketrans("━┃┏┓┗┛┣┫┳┻╋", "─│┌┐└┘├┤┬┴┼")
"""Replaces the library's heavy frame by light lines."""

_ASCII: Final = {
    **dict.fromkeys(range(9472, 9600), "+"),
    **str.maketrans({"━": "-", "─": "-", "┃": "|", "│": "|", "█": "*"}),
}


_LAYER_STEPS: Final = (1, 2, 4, 5, 8, 10, 20, 25, 50, 100, 200, 500, 1000)
_MARGIN: Final = 1e-3
"""Margin at both ends of the vertical axis, as a fraction of its length."""


class FixedTicks(AxisFormatter):
    """Formats an axis with fixed ticks and labels."""

    def __init__(self, ticks: Sequence[tuple[float, str]]) -> None:
        self._labels = dict(ticks)

    def get_ticks(self, min_: float, max_: float, max_ticks: int = 8) -> list[float]:
        """Return the ticks that lie on the axis."""
        return [tick for tick in self._labels if min_ <= tick <= max_]

    def get_labels_for_ticks(self, ticks: Sequence[float]) -> list[str]:
        """Return the labels of the ticks."""
        return [self._labels.get(tick, "") for tick in ticks]


class SparingCanvas(Canvas):
    """A canvas that repaints only the cells that differ from what it painted last."""

    ascii_only = False

    def __init__(self, *args: Any, **options: Any) -> None:
        self._painted: list[Strip] = []
        super().__init__(*args, **options)

    def refresh(
        self,
        *regions: Region,
        repaint: bool = True,
        layout: bool = False,
        recompose: bool = False,
    ) -> Self:
        """Redraw the cells that differ, or everything after a change of size."""
        if self._refreshes_pending:
            return self
        if not (regions or layout or recompose) and self.is_mounted:
            strips = [self.render_line(y) for y in range(self._canvas_size.height)]
            before, self._painted = self._painted, strips
            if len(before) == len(strips):
                regions = tuple(changed_regions(before, strips))
                if not regions:
                    return self
        super().refresh(*regions, repaint=repaint, layout=layout, recompose=recompose)
        return self

    def render_line(self, y: int) -> Strip:
        """Draw a line of the canvas."""
        lines = _ASCII if self.ascii_only else _LIGHT
        return Strip(
            [
                segment._replace(text=segment.text.translate(lines))
                for segment in super().render_line(y)
                if segment.text  # the library's empty lines have no style, on which NO_COLOR fails
            ]
        )


class Plot(PlotWidget):
    """Draws lines over the layers, when `draw` is called and after a change of size."""

    DEFAULT_CSS = """
    Plot { width: 1fr; height: 1fr; }
    Plot > .plot--axis { color: $frame; }
    Plot > .plot--tick { color: $faint; text-style: none; }
    """
    BINDINGS: ClassVar[list[BindingType]] = []
    can_focus = False

    def __init__(self, *, ascii_only: bool) -> None:
        super().__init__(allow_pan_and_zoom=False)
        self._ascii = ascii_only
        self._marked: int | None = None
        self._mark_style = ""

    def compose(self) -> ComposeResult:
        """Lay out the library's parts, with our canvases."""
        with Grid():
            for name in ("margin-top", "margin-left", "plot", "margin-bottom"):
                canvas = SparingCanvas(1, 1, id=name)
                canvas.ascii_only = self._ascii
                yield canvas

    def on_mount(self) -> None:
        """Set the margins: room for labels at the left and below, none above."""
        self.margin_top, self.margin_left, self.margin_bottom = 0, 6, 1
        super().on_mount()

    def show_axes(
        self,
        layers: int,
        low: float,
        high: float,
        ticks: Sequence[tuple[float, str]],
        ends: tuple[str, str] = ("emb", "out"),
    ) -> None:
        """Fix both axes, with margins so that points at their ends are not covered by the frame;
        `ends` names the first and the last place across."""
        width = self.size.width - self.margin_left - 2
        self.set_x_formatter(FixedTicks(_layer_ticks(layers, width, ends)))
        self.set_y_formatter(FixedTicks(ticks))
        half = 0.5 * layers / max(width, 1)  # half a cell
        self.set_xlimits(-half, layers + half)
        margin = (high - low) * _MARGIN
        self.set_ylimits(low - margin, high + margin)

    def add_line(self, points: Sequence[tuple[float, float]], style: str) -> None:
        """Add a line through points; a single point becomes a dot."""
        xs, ys = [x for x, _ in points], [y for _, y in points]
        if len(points) > 1:
            mode = None if self._ascii else HiResMode.BRAILLE
            self.plot(xs, ys, line_style=style, hires_mode=mode)
        else:
            self.scatter(xs, ys, marker="*" if self._ascii else "•", marker_style=style)

    def add_letters(
        self, points: Sequence[tuple[float, float]], index: int, last: int, style: str
    ) -> None:
        """Mark some of a line's points with the letter of its index; `last` is the last place
        across."""
        some = lettered(points, index, last, self.size.width - self.margin_left - 2)
        if some:
            xs, ys = zip(*some, strict=True)
            self.scatter(xs, ys, marker=letter_of(index), marker_style=style)

    def draw(self, marked: int | None, style: str) -> None:
        """Draw what has been added since `clear`, and mark a layer on the frame.

        The mark is only on the frame: Textual writes a changed line from the widget's left edge on,
        so a vertical line through the plot would rewrite all of it for every move of the cursor.
        """
        self._marked, self._mark_style = marked, style
        self._needs_rerender = True
        self.render()

    def _rerender(self) -> None:
        """Do nothing: the library asks for a full repaint after every change, but `draw`
        suffices."""
        self._needs_rerender = True

    def _render_plot(self) -> None:
        with ExitStack() as stack:
            for canvas in self.query(SparingCanvas):
                stack.enter_context(canvas.batch_refresh())
            super()._render_plot()
            if self._marked is not None and self._scale_rectangle.area:
                canvas = self.query_one("#plot", SparingCanvas)
                x, _ = self.get_pixel_from_coordinate(self._marked, 0)
                down, up = ("v", "^") if self._ascii else ("▼", "▲")
                canvas.set_pixel(x, 0, down, style=self._mark_style)
                canvas.set_pixel(x, self._scale_rectangle.bottom, up, style=self._mark_style)

    @on(MouseScrollDown)
    @on(MouseScrollUp)
    def _leave_the_wheel_alone(self, event: MouseScrollDown | MouseScrollUp) -> None:
        """Ignore the mouse wheel, which the library uses to zoom and stops even where it cannot."""
        event.prevent_default()

    def _update_legend(self) -> None:
        """Do nothing: our legend is drawn beside the plot, and the library's reads markup."""

    def _position_legend(self) -> None:
        """Do nothing: the library's legend is not used."""


def _layer_ticks(layers: int, width: int, ends: tuple[str, str]) -> list[tuple[float, str]]:
    """Return ticks of layer numbers, spaced so that they fit between the first and the last
    row's names."""
    apart = len(str(layers)) + 3
    step = next((step for step in _LAYER_STEPS if width * step >= apart * layers), layers or 1)
    clear = layers * apart / max(width, 1)
    between = [row for row in range(step, layers, step) if clear <= row <= layers - clear]
    return [(0.0, ends[0]), *((float(row), str(row)) for row in between), (float(layers), ends[1])]
