"""All heads at once: layers x heads, coloured by the picture's share, raw and without sinks side by
side. Half-blocks; marks where there are no colours."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np
import numpy.typing as npt
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.message import Message
from textual.strip import Strip

from engine.pages.palette import FRAME, RAMP
from tui.state.maps import NO_STEP, STEPS, Scale, Steps
from tui.text.numbers import figure
from tui.text.show import display_text
from tui.views.attention.known import Floats
from tui.widgets.drawn_lines import DrawnLines
from tui.widgets.half_blocks import Colours
from tui.widgets.marks import MARKS
from tui.widgets.pixel_lines import Codes, codes_of, half_block_line

_LABEL: Final = 4
"""Cells of the layer's number and a blank."""
_GAP: Final = 2
_WIDEST: Final = 3
"""Cells for each head, if there is room."""
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


@dataclass(frozen=True)
class Window:
    """Which layers and heads are visible, and how many cells each head has."""

    pitch: int
    top: int
    left: int
    down: int
    across: int
    layers_a_line: int


def window_of(
    shape: tuple[int, int], here: tuple[int, int], room: tuple[int, int], *, halves: bool
) -> Window:
    """Return the part of (layers, heads) around a place that fits into (columns, lines) of cells;
    with `halves`, a line has two layers."""
    layers, heads = shape
    each = 2 if halves else 1
    half = max((room[0] - _LABEL - _GAP) // 2, 1)
    pitch = next((pitch for pitch in range(_WIDEST, 1, -1) if pitch * heads <= half), 1)
    across = max(min(half // pitch, heads), 1)
    down = max(min((room[1] - _HEAD) * each, layers), each)
    top = min(max(here[0] - down // 2, 0), max(layers - down, 0))
    left = min(max(here[1] - across // 2, 0), max(heads - across, 0))
    return Window(pitch, top - top % each, left, down, across, each)


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
        if offset is None or shown is None or offset.y < _HEAD:
            return
        window = self._window(shown)
        layer = window.top + (offset.y - _HEAD) * window.layers_a_line
        wide = window.pitch * window.across
        x = offset.x - _LABEL
        x = x - wide - _GAP if x >= wide + _GAP else x
        head = window.left + x // window.pitch
        if 0 <= x < wide and layer < min(window.top + window.down, shown.raw.shape[0]):
            self.post_message(self.HeadPicked(layer, head))

    def _window(self, shown: MatrixShown) -> Window:
        shape = (shown.raw.shape[0], shown.raw.shape[1])
        here = (shown.layer, shown.head or 0)
        room = (self.size.width, self.size.height)
        return window_of(shape, here, room, halves=not self._letters)

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
        wide = max(window.pitch * window.across, 1)
        first, last = window.left, window.left + window.across - 1
        names = [
            f"{name} 0-{figure(high).strip()}" for name, (_, high) in zip(_NAMES, made, strict=True)
        ]
        heads = f"heads {first}-{last} of 0-{shown.raw.shape[1] - 1}: the picture's share"
        lines = [
            [Segment(f" {heads}", faint)],
            [Segment(" " * _LABEL + f"{names[0][:wide]:<{wide + _GAP}}{names[1]}", faint)],
        ]
        end = min(window.top + window.down, shown.raw.shape[0])
        drawn = [
            self._marked(steps, window, shown)
            if self._letters
            else self._blocks(steps, window, shown)
            for steps, _ in made
        ]
        here = blank + self.get_component_rich_style("matrix--here")
        for at, layer in enumerate(range(window.top, end, window.layers_a_line)):
            is_here = layer <= shown.layer < layer + window.layers_a_line
            label = Segment(f"{layer:>{_LABEL - 1}} ", here if is_here else faint)
            lines.append([label, *drawn[0][at], Segment(" " * _GAP, blank), *drawn[1][at]])
        return [Strip(line).adjust_cell_length(width, blank) for line in lines]

    def _blocks(self, steps: Steps, window: Window, shown: MatrixShown) -> list[list[Segment]]:
        """Return lines of half-blocks, in which the head under the cursor has a colour of its
        own."""
        behind = self.background_colors[1]
        colours = np.array([*RAMP, (behind.r, behind.g, behind.b), FRAME], np.uint8)
        codes = codes_of(colours[None], indexed=self._indexed)[0]
        seen = steps[window.top : window.top + window.down, _across(window)]
        chosen = np.where(seen == NO_STEP, STEPS, seen).astype(np.intp)
        if shown.head is not None:
            y, x = shown.layer - window.top, shown.head - window.left
            if 0 <= y < chosen.shape[0] and 0 <= x < chosen.shape[1]:
                chosen[y, x] = STEPS + 1
        if chosen.shape[0] % 2:
            chosen = np.vstack([chosen, np.full((1, chosen.shape[1]), STEPS, np.intp)])
        pixels: Codes = codes[chosen].repeat(window.pitch, axis=1)
        return [
            half_block_line(upper.tolist(), lower.tolist(), indexed=self._indexed)
            for upper, lower in zip(pixels[::2], pixels[1::2], strict=True)
        ]

    def _marked(self, steps: Steps, window: Window, shown: MatrixShown) -> list[list[Segment]]:
        """Return lines of marks, in which the head under the cursor is reversed."""
        blank = self.rich_style
        reverse = blank + Style(reverse=True, bold=True)
        lines = []
        for layer, row in enumerate(_rows(steps, window), window.top):
            line = []
            for head, step in enumerate(row, window.left):
                mark = " " if step == NO_STEP else MARKS[step]
                is_here = layer == shown.layer and head == shown.head
                line.append(Segment(mark.ljust(window.pitch), reverse if is_here else blank))
            lines.append(line)
        return lines


def _across(window: Window) -> slice:
    return slice(window.left, window.left + window.across)


def _rows(steps: npt.NDArray[np.uint8], window: Window) -> Iterator[list[int]]:
    for row in steps[window.top : window.top + window.down, _across(window)]:
        yield row.tolist()
