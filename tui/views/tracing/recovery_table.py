"""The recovery as a table: a line a row, a column a site, as a colour and a number."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np
from rich.cells import cell_len
from rich.style import Style

from tui.state.maps import NO_STEP, Scale, signed_steps
from tui.text.numbers import signed_figure
from tui.text.phrases import TERMS
from tui.text.show import display_text
from tui.widgets.explaining import Caption
from tui.widgets.led_rows import LedRows
from tui.widgets.signed_look import SIGNED_CLASSES, signed_backgrounds, signed_css
from tui.widgets.styles import Segments, Styles

_LABEL: Final = 5
"""Cells of a row's number and a blank."""
_LEAST, _MOST = 9, 14
"""Cells of a column."""
_UNKNOWN: Final = "."
"""Where nothing has been patched yet."""
SCALE: Final = Scale(-1.0, 1.0)
"""Of all recoveries: 1 is all of the difference."""


@dataclass(frozen=True)
class SiteColumn:
    """What is shown of one site."""

    name: str
    """Safe for display."""
    values: tuple[float, ...]
    """One for each row; NaN where there is none."""
    refused: bool = False
    """Whether the site was not patched."""
    failed: bool = False


@dataclass(frozen=True)
class TableShown:
    """What the table shows."""

    label: str = "row"
    rows: tuple[int, ...] = ()
    columns: tuple[SiteColumn, ...] = ()
    chosen: int = 0
    cursor: int = 0


class RecoveryTable(LedRows):
    """Shows the recovery of every site at every row; the screen moves its cursor."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {*SIGNED_CLASSES}
    DEFAULT_CSS = signed_css("RecoveryTable")

    def __init__(self, *, ascii_only: bool) -> None:
        super().__init__(ascii_only=ascii_only)
        self._shown = TableShown()
        self._backgrounds: tuple[Style, ...] | None = None

    def show(self, shown: TableShown) -> None:
        """Show this, with the cursor at its line."""
        self._shown = shown
        self.refresh_rows()
        self.put_cursor(shown.cursor)

    @property
    def count(self) -> int:
        """Return the number of rows."""
        return len(self._shown.rows)

    def look_of(self, key: int) -> object:
        """Return what the line is drawn from."""
        shown = self._shown
        if key < 0:
            return (shown.label, shown.chosen, tuple(each.name for each in shown.columns))
        if key >= self.count:
            return ()
        cells = tuple((repr(each.values[key]), each.refused, each.failed) for each in shown.columns)
        # The window over the columns follows the chosen site.
        return (shown.rows[key], self._window(self.size.width)[0], cells)

    def notify_style_update(self) -> None:
        """Redraw with the colours of the new theme."""
        super().notify_style_update()
        self._backgrounds = None

    def site_at(self, x: int) -> int:
        """Return the site that is drawn at a column of cells, or is nearest to it."""
        first, count, wide = self._window(self.size.width)
        return first + min(max((x - 1 - _LABEL) // wide, 0), count - 1)

    def captions(self) -> Iterable[Caption]:
        """Return the names of the sites."""
        return [
            Caption(0, 0, _LABEL + 1),
            Caption(0, _LABEL + 1, marks="names", otherwise=TERMS["clean, corrupt, site"]),
        ]

    def cursor_column(self) -> int | None:
        """Return where the name of the chosen site ends."""
        first, count, wide = self._window(self.size.width)
        return _LABEL + (self._shown.chosen - first + 1) * wide if count else None

    def draw_head(self, line: int, width: int, styles: Styles) -> Segments:
        """Draw the names of the sites, the chosen one marked."""
        shown = self._shown
        first, count, wide = self._window(width)
        segments: Segments = [(f" {shown.label:>{_LABEL - 1}} ", styles.faint)]
        for at in range(first, first + count):
            name = display_text(shown.columns[at].name, spaces=False, ascii_only=self._ascii)
            if cell_len(name) > wide - 1:
                name = display_text(name, wide - 1, spaces=False, ascii_only=self._ascii)
            if at == shown.chosen:
                name = f"{'>' if self._ascii else '▸'}{name}"
            name = " " * (wide - cell_len(name)) + name
            segments.append((name, styles.cursor if at == shown.chosen else styles.faint))
        rest = len(shown.columns) - first - count
        if rest:
            segments.append((f" +{rest}", styles.faint))
        return segments

    def draw_row(self, row: int, width: int, styles: Styles) -> Segments:
        """Draw a row: its number, and the recovery of every site."""
        shown = self._shown
        first, count, wide = self._window(width + 1)
        segments: Segments = [(f"{shown.rows[row]:>{_LABEL - 1}} ", styles.faint)]
        for column in shown.columns[first : first + count]:
            segments += self._cell(column, row, wide, styles)
        return segments

    def _cell(self, column: SiteColumn, row: int, wide: int, styles: Styles) -> Segments:
        value = column.values[row]
        if math.isnan(value):
            text = "-" if column.refused else _UNKNOWN
            return [(" " * (wide - 1) + text, styles.faint)]
        text = f"{signed_figure(value):>{wide - 1}}"
        if column.failed:
            return [(" ", styles.text), (text, styles.struck)]
        (step,) = signed_steps(np.array([value], np.float32), SCALE).tolist()
        backgrounds = self._shades()
        style = styles.text
        if backgrounds and step != NO_STEP:
            style = styles.text + backgrounds[step]
        return [(" ", styles.text), (text, style)]

    def _shades(self) -> tuple[Style, ...]:
        if self._backgrounds is None:
            self._backgrounds = signed_backgrounds(self, ascii_only=self._ascii)
        return self._backgrounds

    def _window(self, width: int) -> tuple[int, int, int]:
        """Return the first of the columns that are visible, how many they are, and how wide, in a
        widget of so many cells."""
        columns, room = len(self._shown.columns), max(width - 1 - _LABEL - 3, _LEAST)
        wide = min(max(room // max(columns, 1), _LEAST), _MOST)
        count = min(max(room // wide, 1), columns)
        chosen = self._shown.chosen
        first = min(max(chosen - count + 1, 0), max(columns - count, 0))
        return first, count, wide
