"""The units with the largest shares, each with a bar and the words that it pushes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

from rich.cells import cell_len
from rich.style import Style

from engine.methods.logit_asked import Pushed
from engine.methods.neurons import Unit
from tui.text.numbers import number, signed_figure
from tui.text.show import display_text
from tui.widgets.led_rows import LedRows
from tui.widgets.signed_bars import signed_bar_segments
from tui.widgets.signed_look import SIGNED_CLASSES, sign_styles, signed_css
from tui.widgets.styles import Segments, Styles

_LABEL: Final = 5
_UNIT: Final = 8
_MODULE: Final = 16
"""Cells of the module or expert, where any unit is of another than the MLP."""
_ACTIVATION: Final = 8
_NUMBER: Final = 7
_EFFECT: Final = 7
_LEAST_BAR: Final = 9
_MOST_BAR: Final = 31
_LEAST_WORDS: Final = 12
"""Cells of the words on each side that are worth showing."""


@dataclass(frozen=True, eq=False)
class UnitsShown:
    """What the list shows."""

    units: tuple[Unit, ...] = ()
    cursor: int = 0
    failed: bool = False

    @property
    def most(self) -> float:
        """The largest absolute share, at which bars end."""
        return max((abs(unit.share or 0.0) for unit in self.units), default=0.0)


class UnitList(LedRows):
    """Shows the units; the screen moves its cursor."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {*SIGNED_CLASSES}
    DEFAULT_CSS = signed_css("UnitList")

    def __init__(self, *, ascii_only: bool) -> None:
        super().__init__(ascii_only=ascii_only)
        self._shown = UnitsShown()
        self._columns = (0, 0)
        """Cells of a module's name and of an effect."""

    def show(self, shown: UnitsShown) -> None:
        """Show these units, with the cursor at one."""
        self._shown = shown
        named = any(unit.module != "MLP" or unit.expert is not None for unit in shown.units)
        zeroed = any(unit.effect is not None for unit in shown.units)
        self._columns = (_MODULE if named else 0, _EFFECT if zeroed else 0)
        self.put_cursor(shown.cursor)
        self.refresh_rows()

    @property
    def count(self) -> int:
        """Return the number of units."""
        return len(self._shown.units)

    def look_of(self, key: int) -> object:
        """Return what a line is drawn from."""
        shown = self._shown
        if not 0 <= key < len(shown.units):
            return (self._columns, bool(shown.units))
        return (shown.units[key], shown.most, shown.failed, self._columns)

    def draw_head(self, line: int, width: int, styles: Styles) -> Segments:
        """Draw the names of the columns."""
        if not self._shown.units:
            return []
        module, effect = self._columns
        bar, words = self._widths(width - 1)
        text = f" {'layer':<{_LABEL}} {'module' if module else '':<{module}}{'unit':>{_UNIT - 2}}"
        text += f"{'active':>{_ACTIVATION}} {'':<{bar}}{'share':>{_NUMBER}}"
        text += f"{'zeroed':>{effect}}" if effect else ""
        text += f" {'promotes':<{words}} suppresses" if words else ""
        return [(text[:width], styles.faint)]

    def draw_row(self, row: int, width: int, styles: Styles) -> Segments:
        """Draw a line: which unit, its activation, its share, and words."""
        shown = self._shown
        unit = shown.units[row]
        module, effect = self._columns
        bar, words = self._widths(width)
        plain = styles.struck if shown.failed else styles.text
        name = unit.module if unit.expert is None else f"{unit.module} {unit.expert}"
        which = f"{unit.layer:>{_LABEL - 1}}  "
        which += display_text(name, module, spaces=False, ascii_only=self._ascii) if module else ""
        segments: Segments = [
            (f"{which}{unit.index:>{_UNIT - 2}}{number(unit.activation):>{_ACTIVATION}} ", plain)
        ]
        negative, positive = sign_styles(self)
        looks: tuple[Style, Style, Style] = (negative, styles.faint, positive)
        share = None if shown.failed else unit.share
        segments += signed_bar_segments(share, shown.most, bar, looks, ascii_only=self._ascii)
        segments.append((f"{signed_figure(unit.share):>{_NUMBER}}", plain))
        if effect:
            known = "" if unit.effect is None else signed_figure(unit.effect)
            segments.append((f"{known:>{effect}}", plain))
        if words:
            segments.append((f" {self._words(unit.promotes, words)}", styles.text))
            segments.append((f" {self._words(unit.suppresses, words)}", styles.faint))
        return segments

    def _widths(self, width: int) -> tuple[int, int]:
        """Return the cells of the bar, an odd number, and of the words on each side; none where
        there is no room for them."""
        module, effect = self._columns
        room = width - _LABEL - 1 - module - _UNIT + 2 - _ACTIVATION - 1 - _NUMBER - effect
        words = (room - _LEAST_BAR) // 3
        if words < _LEAST_WORDS:
            words = 0
        bar = min(max(room - 2 * (words + 1) if words else room, 0), _MOST_BAR)
        return bar - (1 - bar % 2) if bar else 0, words

    def _words(self, words: tuple[Pushed, ...], width: int) -> str:
        """Return as many words as fit whole, the first one cut if it must be."""
        line = ""
        for word in words:
            more = f"{display_text(word.text, ascii_only=self._ascii)} "
            if line and cell_len(line) + cell_len(more) > width:
                break
            line += more
        return display_text(line.rstrip(), width, spaces=False, ascii_only=self._ascii)
