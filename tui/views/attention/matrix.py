"""All heads at once: layers x heads, coloured by the picture's share, raw and without sinks side by
side. Half-blocks; marks where there are no colours."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np
from rich.segment import Segment
from textual import events
from textual.message import Message
from textual.strip import Strip

from tui.state.maps import Scale, Steps
from tui.text.numbers import figure
from tui.text.show import display_text
from tui.views.attention.known import Floats
from tui.widgets.drawn_lines import DrawnLines
from tui.widgets.explaining import Caption, Kind
from tui.widgets.half_blocks import Colours
from tui.widgets.marks import MARKS
from tui.widgets.matrix_cells import Window, block_lines, mark_lines, window_of
from tui.widgets.tint import FROM_LOW

_LABEL: Final = 4
"""Cells of the layer's number and a blank."""
_GAP: Final = 2
_HEAD: Final = 2
"""Lines above the matrices: what they are, and up to which share their colours go."""
_NAMES: Final = ("raw", "no sinks")


@dataclass(frozen=True, eq=False)
class MatrixShown:
    """What the matrices show."""

    raw: Floats
    """float32 [layers, heads]; NaN where there is nothing."""
    without: Floats
    layer: int
    head: int | None
    """None is the mean of all."""


def steps_of(shares: Floats) -> tuple[Steps, float]:
    """Return the step of each share, and the highest share, at which the scale ends."""
    known = shares[np.isfinite(shares)]
    high = float(known.max()) if known.size else 0.0
    return Scale(0.0, high).steps(shares), high


class HeadMatrix(DrawnLines):
    """Shows the picture's share of the weight of every head in every layer."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"matrix--faint", "matrix--here"}
    DEFAULT_CSS = """
    HeadMatrix {
        & > .matrix--faint { color: $faint; }
        & > .matrix--here { color: $primary; text-style: bold; }
    }
    """

    @dataclass
    class HeadPicked(Message):
        """A head has been clicked."""

        layer: int
        head: int

    def __init__(self, *, ascii_only: bool, letters: bool, colours: Colours) -> None:
        """With `letters`, marks stand in place of colours."""
        super().__init__()
        self._ascii, self._letters = ascii_only, letters
        self._indexed = colours is Colours.INDEXED
        self._shown: MatrixShown | None = None

    def show(self, shown: MatrixShown | None) -> None:
        """Show these shares; None says that nothing is known."""
        self._shown = shown
        self.redraw()

    def on_click(self, event: events.Click) -> None:
        """Pick the clicked head."""
        offset = event.get_content_offset(self)
        shown = self._shown
        if offset is None or shown is None:
            return
        window = self._window(shown)
        x = offset.x - _LABEL
        x = x - window.width - _GAP if x >= window.width + _GAP else x
        place = window.place_at(x, offset.y - _HEAD, shown.raw.shape[0])
        if place is not None:
            self.post_message(self.HeadPicked(*place))

    def _window(self, shown: MatrixShown) -> Window:
        shape = (shown.raw.shape[0], shown.raw.shape[1])
        here = (shown.layer, shown.head or 0)
        room = ((self.size.width - _LABEL - _GAP) // 2, self.size.height - _HEAD)
        return window_of(shape, here, room, halves=not self._letters)

    def captions(self) -> Iterable[Caption]:
        """Return the lines above the matrices."""
        return [Caption(line, kind=Kind.WORDS) for line in range(_HEAD)]

    def draw(self) -> list[Strip]:
        """See `DrawnLines.draw`."""
        width, shown = self.size.width, self._shown
        blank = self.rich_style
        faint = blank + self.get_component_rich_style("matrix--faint")
        if shown is None or not shown.raw.size:
            words = display_text(" no shares of the picture are known", max(width, 0), spaces=False)
            return [Strip([Segment(words, faint)])]
        window = self._window(shown)
        made = [steps_of(shares) for shares in (shown.raw, shown.without)]
        wide = max(window.width, 1)
        first, last = window.left, window.left + window.across - 1
        names = [
            f"{name} 0-{figure(high).strip()}" for name, (_, high) in zip(_NAMES, made, strict=True)
        ]
        heads = f"heads {first}-{last} of 0-{shown.raw.shape[1] - 1}: the picture's share"
        lines = [
            [Segment(f" {heads}", faint)],
            [Segment(" " * _LABEL + f"{names[0][:wide]:<{wide + _GAP}}{names[1]}", faint)],
        ]
        drawn = [self._drawn(steps, window, shown) for steps, _ in made]
        here = blank + self.get_component_rich_style("matrix--here")
        for at, layer in enumerate(window.lines(shown.raw.shape[0])):
            is_here = layer <= shown.layer < layer + window.rows_a_line
            label = Segment(f"{layer:>{_LABEL - 1}} ", here if is_here else faint)
            lines.append([label, *drawn[0][at], Segment(" " * _GAP, blank), *drawn[1][at]])
        return [Strip(line).adjust_cell_length(width, blank) for line in lines]

    def _drawn(self, steps: Steps, window: Window, shown: MatrixShown) -> list[list[Segment]]:
        here = None if shown.head is None else (shown.layer, shown.head)
        if self._letters:
            return mark_lines(steps, window, here, MARKS, self.rich_style)
        behind = self.background_colors[1]
        background = (behind.r, behind.g, behind.b)
        return block_lines(steps, window, here, FROM_LOW, background, indexed=self._indexed)
