"""All heads at once: layers x heads, coloured by their shares. Half-blocks; marks where there are
no colours."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Final

from rich.segment import Segment
from textual import events
from textual.message import Message
from textual.strip import Strip

from tui.state.maps import Floats, signed_scale, signed_steps
from tui.text.numbers import signed_figure
from tui.text.show import display_text
from tui.views.parts.head_table import Place
from tui.widgets.drawn_lines import DrawnLines
from tui.widgets.explaining import Caption, Kind
from tui.widgets.half_blocks import Colours
from tui.widgets.marks import SIGNED_MARKS
from tui.widgets.matrix_cells import Window, block_lines, mark_lines, window_of
from tui.widgets.strips import strip_of
from tui.widgets.tint import AROUND_ZERO

_LABEL: Final = 4
"""Cells of the layer's number and a blank."""
_HEAD: Final = 1
"""Lines above the matrix: which heads are visible, and up to which share their colours go."""


@dataclass(frozen=True, eq=False)
class HeadsShown:
    """What the matrix shows."""

    shares: Floats
    """float32 [layers, heads]; NaN where there is no head."""
    here: Place


class HeadGrid(DrawnLines):
    """Shows the share of every head in every layer."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"heads--faint", "heads--here"}
    DEFAULT_CSS = """
    HeadGrid {
        & > .heads--faint { color: $faint; }
        & > .heads--here { color: $primary; text-style: bold; }
    }
    """

    @dataclass
    class HeadPicked(Message):
        """A head has been clicked."""

        place: Place

    def __init__(self, *, ascii_only: bool, letters: bool, colours: Colours) -> None:
        """With `letters`, marks stand in place of colours."""
        super().__init__()
        self._ascii, self._letters = ascii_only, letters
        self._indexed = colours is Colours.INDEXED
        self._shown: HeadsShown | None = None
        self._words = ""

    def show(self, shown: HeadsShown | None, words: str) -> None:
        """Show these shares; `words`, safe for display, where there are none."""
        self._shown, self._words = shown, words
        self.redraw()

    def on_click(self, event: events.Click) -> None:
        """Pick the clicked head."""
        offset = event.get_content_offset(self)
        shown = self._shown
        if offset is None or shown is None or not shown.shares.size:
            return
        rows = shown.shares.shape[0]
        place = self._window(shown).place_at(offset.x - _LABEL, offset.y - _HEAD, rows)
        if place is not None:
            self.post_message(self.HeadPicked(place))

    def _window(self, shown: HeadsShown) -> Window:
        shape = (shown.shares.shape[0], shown.shares.shape[1])
        room = (self.size.width - _LABEL, self.size.height - _HEAD)
        return window_of(shape, shown.here, room, halves=not self._letters)

    def captions(self) -> Iterable[Caption]:
        """Return the line above the heads."""
        return [Caption(0, kind=Kind.WORDS)]

    def draw(self) -> list[Strip]:
        """See `DrawnLines.draw`."""
        width, shown = self.size.width, self._shown
        blank = self.rich_style
        faint = blank + self.get_component_rich_style("heads--faint")
        if shown is None or not shown.shares.size:
            words = display_text(f" {self._words}", max(width, 0), spaces=False)
            return [strip_of([(words, faint)], width, blank)]
        window = self._window(shown)
        scale = signed_scale(shown.shares)
        steps = signed_steps(shown.shares, scale)
        rows, heads = shown.shares.shape
        last = window.left + window.across - 1
        title = f" heads {window.left}-{last} of 0-{heads - 1}, to {signed_figure(scale.high)}"
        lines = [strip_of([(title, faint)], width, blank)]
        if self._letters:
            drawn = mark_lines(steps, window, shown.here, SIGNED_MARKS, blank)
        else:
            behind = self.background_colors[1]
            background = (behind.r, behind.g, behind.b)
            drawn = block_lines(
                steps, window, shown.here, AROUND_ZERO, background, indexed=self._indexed
            )
        here = blank + self.get_component_rich_style("heads--here")
        for cells, layer in zip(drawn, window.lines(rows), strict=False):
            is_here = layer <= shown.here[0] < layer + window.rows_a_line
            label = Segment(f"{layer:>{_LABEL - 1}} ", here if is_here else faint)
            lines.append(Strip([label, *cells]).adjust_cell_length(width, blank))
        return lines
