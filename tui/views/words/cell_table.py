"""The rows at one patch: the best token of every row, and the mapped number."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Final

from rich.style import Style

from tui.state.maps import NO_STEP, STEPS
from tui.text.bars import line_bar
from tui.text.numbers import FIGURE_WIDTH, figure
from tui.text.phrases import TERMS
from tui.text.show import display_text
from tui.widgets.explaining import Caption, Kind
from tui.widgets.led_rows import LedRows
from tui.widgets.styles import Segments, Styles
from tui.widgets.tint import step_style

_VALUE: Final = 6
_LEAST_TOKEN: Final = 8
_MOST_TOKEN: Final = 22
_MOST_BAR: Final = 12


@dataclass(frozen=True)
class CellRow:
    """What is shown of one row at the patch."""

    text: str | None = None
    """Of the best token; None while the row has not been read."""
    token: int = -1
    share: float = float("nan")
    value: str = ""
    """The mapped number, as text."""
    step: int = NO_STEP


@dataclass(frozen=True)
class CellRows:
    """All rows at a patch."""

    heads: tuple[str, str] = ("", "")
    """Which patch, and where it is."""
    name: str = ""
    """Of the mapped number."""
    rows: tuple[CellRow, ...] = ()
    failed: bool = False
    """Whether a proof failed, so that the rows cannot be trusted."""


class CellTable(LedRows):
    """Shows the rows at the patch under the cursor; the screen moves its cursor."""

    HEAD: ClassVar[int] = 3

    def __init__(self, *, ascii_only: bool) -> None:
        super().__init__(ascii_only=ascii_only)
        self._shown = CellRows()
        self._hues: Mapping[int, int] = {}
        self._answer = -1

    def show(self, shown: CellRows, hues: Mapping[int, int], answer: int) -> None:
        """Show these rows, with the token colours of the run."""
        self._shown, self._hues, self._answer = shown, hues, answer
        self.refresh_rows()

    @property
    def count(self) -> int:
        """Return the number of rows of the run."""
        return len(self._shown.rows)

    def captions(self) -> Iterable[Caption]:
        """Return which patch it is, where, and the names of the columns."""
        last = self.head_height - 1
        yield from (Caption(line, kind=Kind.WORDS) for line in range(last))
        yield Caption(last, otherwise=TERMS["p"])

    def draw_head(self, line: int, width: int, styles: Styles) -> Segments:
        """Draw the place and the names of the columns."""
        if line < 2:
            words = display_text(
                self._shown.heads[line], max(width - 1, 0), spaces=False, ascii_only=self._ascii
            )
            return [(" ", styles.text), (words, styles.faint if line else styles.text)]
        token, _ = self._widths(width - 1)
        name = display_text(self._shown.name, _VALUE + 8, spaces=False, ascii_only=self._ascii)
        top = f"    {'next token':{token}.{token}} {'p':>{FIGURE_WIDTH}}  "
        return [(f" {top}", styles.faint), (name.rstrip(), styles.faint)]

    def draw_row(self, row: int, width: int, styles: Styles) -> Segments:
        """Draw a row: its number, best token and probability, the mapped number and its bar."""
        cell = self._shown.rows[row]
        token, bar = self._widths(width)
        segments: Segments = [(f"{row:>3} ", styles.faint)]
        figures = styles.struck if self._shown.failed else styles.text
        if cell.text is None:
            segments.append((" " * (token + 1 + FIGURE_WIDTH), styles.faint))
        else:
            style = self._token_style(cell.token, styles)
            shown = display_text(cell.text, token, ascii_only=self._ascii)
            share = "" if cell.share != cell.share else figure(cell.share)
            segments += [(shown, style), (f" {share:>{FIGURE_WIDTH}}", figures)]
        segments += [("  ", styles.text), (f"{cell.value:>{_VALUE}.{_VALUE}} ", figures)]
        if bar and not self._shown.failed and cell.step != NO_STEP:
            # The lowest step has no bar: most cells of most maps are in it.
            drawn = line_bar(cell.step / (STEPS - 1), bar, ascii_only=self._ascii)
            segments.append((drawn, styles.text + step_style(cell.step)))
        return segments

    def _token_style(self, token: int, styles: Styles) -> Style:
        if self._shown.failed:
            return styles.struck
        return styles.answer if token == self._answer else styles.of_hue(self._hues.get(token))[0]

    def _widths(self, width: int) -> tuple[int, int]:
        """Return the cells of the token and of the bar."""
        free = width - 4 - 1 - FIGURE_WIDTH - 2 - _VALUE - 1
        token = min(max(free - _MOST_BAR, _LEAST_TOKEN), _MOST_TOKEN)
        return token, min(max(free - token, 0), _MOST_BAR)
