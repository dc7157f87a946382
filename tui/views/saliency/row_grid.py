"""Gradient x input of every row at every position: rows downward, the prompt across."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np
import numpy.typing as npt
from rich.segment import Segment
from textual import events
from textual.message import Message
from textual.strip import Strip

from engine.records import PromptToken
from tui.state.maps import Steps, signed_scale, signed_steps
from tui.text.phrases import TERMS
from tui.widgets.drawn_lines import DrawnLines
from tui.widgets.explaining import Caption, Kind
from tui.widgets.half_blocks import Colours
from tui.widgets.marks import SIGNED_MARKS
from tui.widgets.matrix_cells import Window, block_lines, mark_lines, window_of
from tui.widgets.strips import strip_of
from tui.widgets.tint import AROUND_ZERO

_LABEL: Final = 4
"""Cells of the row's number and a blank."""
_HEAD: Final = 1
_LEAST_PICTURE: Final = 4
"""Columns that the picture's tokens have at least, however long the text is."""
_LETTERS: Final = {"template": "t", "system": "s", "picture": "P", "prompt": "q", "prefix": "a"}
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class GridShown:
    """What the grid shows."""

    values: Floats
    """float32 [L + 1, tokens]."""
    tokens: tuple[PromptToken, ...]
    row: int
    token: int
    own_scale: bool = False
    """Whether each row has its own scale."""


def columns_of(tokens: Sequence[PromptToken], room: int) -> list[tuple[int, int]]:
    """Return the first and the last token of each column: a column a token, but where they do not
    fit the picture's tokens share columns."""
    pictured = sum(token.kind == "image" for token in tokens)
    left = max(room - (len(tokens) - pictured), _LEAST_PICTURE)
    each = max(-(-pictured // left), 1)
    columns: list[tuple[int, int]] = []
    for at, token in enumerate(tokens):
        if token.kind == "image" and columns:
            first, last = columns[-1]
            if tokens[first].kind == "image" and last - first + 1 < each:
                columns[-1] = (first, at)
                continue
        columns.append((at, at))
    return columns


def strongest(values: Floats, columns: Sequence[tuple[int, int]]) -> Floats:
    """Return float32 [R, columns]: of each column the value that is farthest from 0."""
    found = np.full((values.shape[0], len(columns)), np.nan, np.float32)
    for at, (first, last) in enumerate(columns):
        part = values[:, first : last + 1]
        sizes = np.where(np.isnan(part), -1, np.abs(part))
        found[:, at] = np.take_along_axis(part, sizes.argmax(axis=1)[:, None], axis=1)[:, 0]
    return found


def steps_of(values: Floats, *, own_scale: bool) -> Steps:
    """Return the step of each value, on one scale or on each row's own."""
    if not own_scale:
        return signed_steps(values, signed_scale(values))
    return np.stack([signed_steps(row, signed_scale(row)) for row in values])


class RowGrid(DrawnLines):
    """Shows the matrix in half-blocks, or in marks."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"grid--faint", "grid--here"}
    DEFAULT_CSS = """
    RowGrid {
        & > .grid--faint { color: $faint; }
        & > .grid--here { color: $primary; text-style: bold; }
    }
    """

    @dataclass
    class CellPicked(Message):
        """A cell has been clicked."""

        row: int
        token: int

    def __init__(self, *, ascii_only: bool, letters: bool, colours: Colours) -> None:
        """With `letters`, marks stand in place of colours."""
        super().__init__()
        self._ascii, self._letters = ascii_only, letters
        self._indexed = colours is Colours.INDEXED
        self._shown: GridShown | None = None
        self._words = ""

    def show(self, shown: GridShown | None, otherwise: str) -> None:
        """Show this; `otherwise` in place of it where there is nothing. It must be safe for
        display."""
        self._shown, self._words = shown, otherwise
        self.redraw()

    def beside(self, token: int, step: int) -> int:
        """Return the first token of the next column, or of the one before."""
        if self._shown is None:
            return token
        columns = self._columns(self._shown)
        at = _column(columns, token) + step
        return columns[min(max(at, 0), len(columns) - 1)][0]

    def on_click(self, event: events.Click) -> None:
        """Pick the clicked cell."""
        offset, shown = event.get_content_offset(self), self._shown
        if offset is None or shown is None:
            return
        columns = self._columns(shown)
        window = self._window(shown, columns)
        place = window.place_at(offset.x - _LABEL, offset.y - _HEAD, shown.values.shape[0])
        if place is not None:
            self.post_message(self.CellPicked(place[0], columns[place[1]][0]))

    def captions(self) -> Iterable[Caption]:
        """Return the letters above the columns."""
        return [
            Caption(
                0,
                kind=Kind.MARKS,
                marks="names",
                otherwise=TERMS["t, s, P, q, a"],
            )
        ] * (self._shown is not None)

    def draw(self) -> list[Strip]:
        """See `DrawnLines.draw`."""
        width, shown, base = self.size.width, self._shown, self.rich_style
        faint = base + self.get_component_rich_style("grid--faint")
        here = base + self.get_component_rich_style("grid--here")
        if shown is None:
            return [strip_of([(f" {self._words}", faint)], width, base)]
        columns = self._columns(shown)
        window = self._window(shown, columns)
        seen = columns[window.left : window.left + window.across]
        names = "".join(
            _LETTERS.get(shown.tokens[first].part, "?").ljust(window.pitch) for first, _ in seen
        )
        lines = [strip_of([(" " * _LABEL, base), (names, faint)], width, base)]
        steps = steps_of(strongest(shown.values, columns), own_scale=shown.own_scale)
        place = (shown.row, _column(columns, shown.token))
        drawn = self._drawn(steps, window, place)
        for at, row in enumerate(window.lines(len(steps))):
            mine = row <= shown.row < row + window.rows_a_line
            label = Segment(f"{row:>{_LABEL - 1}} ", here if mine else faint)
            lines.append(Strip([label, *drawn[at]]).adjust_cell_length(width, base))
        return lines

    def _drawn(self, steps: Steps, window: Window, place: tuple[int, int]) -> list[list[Segment]]:
        if self._letters:
            return mark_lines(steps, window, place, SIGNED_MARKS, self.rich_style)
        behind = self.background_colors[1]
        background = (behind.r, behind.g, behind.b)
        return block_lines(steps, window, place, AROUND_ZERO, background, indexed=self._indexed)

    def _columns(self, shown: GridShown) -> list[tuple[int, int]]:
        return columns_of(shown.tokens, max(self.size.width - _LABEL, 1))

    def _window(self, shown: GridShown, columns: Sequence[tuple[int, int]]) -> Window:
        shape = (shown.values.shape[0], len(columns))
        room = (self.size.width - _LABEL, self.size.height - _HEAD)
        here = (shown.row, _column(columns, shown.token))
        return window_of(shape, here, room, halves=not self._letters)


def _column(columns: Sequence[tuple[int, int]], token: int) -> int:
    found = (at for at, (first, last) in enumerate(columns) if first <= token <= last)
    return next(found, 0)
