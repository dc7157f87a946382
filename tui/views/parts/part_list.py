"""The parts, a layer's attention and MLP side by side, each with a bar of its share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

from rich.style import Style

from engine.methods.parts import PartShare
from tui.text.numbers import signed_figure
from tui.text.show import display_text
from tui.views.parts.known import PAIR, PartLine, is_between
from tui.widgets.led_rows import LedRows
from tui.widgets.signed_bars import signed_bar_segments
from tui.widgets.signed_look import SIGNED_CLASSES, sign_styles, signed_css
from tui.widgets.styles import Segments, Styles

_LABEL: Final = 6
_NUMBER: Final = 8
"""Cells of a share, of the mark of the cursor and of a blank."""
_EFFECT: Final = 7
"""Cells of what taking a part out does, once that is known of any, and of a blank."""
_SUM: Final = 8
_WORD: Final = 14
_ROOM_FOR_WORDS: Final = 38
"""Cells of a half of the line in which a word is written after the share."""
_MOST_BAR: Final = 41
HERE, HERE_ASCII = "◂", "<"
"""The mark of the part under the cursor."""


@dataclass(frozen=True, eq=False)
class PartsShown:
    """What the list shows."""

    lines: tuple[PartLine, ...] = ()
    parts: tuple[PartShare, ...] = ()
    cursor: int = 0
    part: int = -1
    most: float = 0.0
    """At which share bars end."""
    failed: bool = False


class PartList(LedRows):
    """Shows the shares of all parts; the screen moves its cursor."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {*SIGNED_CLASSES}
    DEFAULT_CSS = signed_css("PartList")

    def __init__(self, *, ascii_only: bool) -> None:
        super().__init__(ascii_only=ascii_only)
        self._shown = PartsShown()

    def show(self, shown: PartsShown) -> None:
        """Show these parts, with the cursor at one."""
        self._shown = shown
        self.put_cursor(shown.cursor)
        self.refresh_rows()

    @property
    def count(self) -> int:
        """Return the number of lines."""
        return len(self._shown.lines)

    def look_of(self, key: int) -> object:
        """Return what a line is drawn from."""
        shown = self._shown
        if not 0 <= key < len(shown.lines):
            return (bool(shown.lines), self._has_pairs, self._effect)
        line = shown.lines[key]
        parts = tuple(shown.parts[index] for index in line.parts)
        here = shown.part if shown.part in line.parts else -1
        return (line, parts, here, shown.most, shown.failed, self._effect)

    @property
    def _has_pairs(self) -> bool:
        return any(len(line.parts) > 1 for line in self._shown.lines)

    @property
    def _effect(self) -> int:
        """Cells of an effect; none as long as no part has been taken out."""
        return _EFFECT if any(part.effect is not None for part in self._shown.parts) else 0

    def part_at(self, row: int, x: int) -> int:
        """Return the part in a line that is drawn at a column of cells, or is nearest to it."""
        parts = self._shown.lines[row].parts
        side = min(max(x - _LABEL, 0) // max(self._half(self.size.width - 1), 1), 1)
        return parts[min(side, len(parts) - 1)]

    def cursor_column(self) -> int | None:
        """Return where the name of the attention or MLP under the cursor begins."""
        shown = self._shown
        if not self._has_pairs or shown.cursor >= len(shown.lines):
            return None
        parts = shown.lines[shown.cursor].parts
        side = parts.index(shown.part) if shown.part in parts else 0
        return 1 + _LABEL + side * self._half(self.size.width - 1)

    def draw_head(self, line: int, width: int, styles: Styles) -> Segments:
        """Draw the names of the columns."""
        if not self._shown.lines:
            return []
        half = self._half(width - 1)
        names = PAIR if self._has_pairs else ("", "part")
        number = self._bar(half) + _NUMBER - 2
        out = f"{'out':>{self._effect - 1}}" if self._effect else ""
        over = [f"{name:<{number - 5}}share  {out}"[:half].ljust(half) for name in names]
        if not self._has_pairs:
            over[1] = names[1].ljust(half)
        text = f" {'layer':<{_LABEL}}{''.join(over)}{'sum':>{_SUM - 1}}"
        return [(text[:width], styles.faint)]

    def draw_row(self, row: int, width: int, styles: Styles) -> Segments:
        """Draw a line: the layer, a part or two, and what all up to it sum to."""
        shown = self._shown
        line = shown.lines[row]
        first = shown.parts[line.parts[0]]
        half = self._half(width)
        label = "" if first.layer is None or is_between(first) else str(first.layer)
        segments: Segments = [(f"{label:>{_LABEL - 2}}  ", styles.faint)]
        for index in line.parts:
            segments += self._part(index, half, styles)
        if len(line.parts) == 1:
            segments.append((self._fitted(self._in_words(first), half), styles.text))
        segments.append((f"{signed_figure(line.together):>{_SUM - 1}}", self._number(styles, True)))
        return segments

    def _part(self, index: int, half: int, styles: Styles) -> Segments:
        """Draw a bar, a share and, where there is room, the word that the part promotes most."""
        shown = self._shown
        part = shown.parts[index]
        bar = self._bar(half)
        negative, positive = sign_styles(self)
        looks: tuple[Style, Style, Style] = (negative, styles.faint, positive)
        share = None if shown.failed else part.share
        segments = signed_bar_segments(share, shown.most, bar, looks, ascii_only=self._ascii)
        is_here = index == shown.part
        mark = (HERE_ASCII if self._ascii else HERE) if is_here else " "
        number = styles.cursor if is_here and not shown.failed else self._number(styles, False)
        segments.append((f"{signed_figure(part.share):>{_NUMBER - 2}}{mark} ", number))
        if self._effect:
            known = "" if part.effect is None else signed_figure(part.effect)
            segments.append((f"{known:>{_EFFECT - 1}} ", self._number(styles, False)))
        rest = half - _NUMBER - self._effect - bar
        word = part.promotes[0].text if rest >= _WORD and part.promotes else ""
        segments.append((self._fitted(word, rest, spaces=bool(word)), styles.faint))
        return segments

    def _bar(self, half: int) -> int:
        """Return the cells of a bar, an odd number of them, in so many cells for a part."""
        words = _WORD if half >= _ROOM_FOR_WORDS and self._has_pairs else 0
        bar = max(min(half - _NUMBER - self._effect - words, _MOST_BAR), 0)
        return bar - (1 - bar % 2) if bar else 0

    def _number(self, styles: Styles, faint: bool) -> Style:
        if self._shown.failed:
            return styles.struck
        return styles.faint if faint else styles.text

    def _in_words(self, part: PartShare) -> str:
        """Return what stands beside a part alone in its line: its name, and why it is one part or
        the words that it promotes."""
        name = display_text(part.name, spaces=False, ascii_only=self._ascii)
        if part.reason:
            return f"{name}: {part.reason}"
        words = [display_text(word.text, ascii_only=self._ascii) for word in part.promotes[:3]]
        return "  ".join([name, *words])

    def _half(self, width: int) -> int:
        """Return the cells of each of two parts in a line of so many cells, without the gutter."""
        return max((width - _LABEL - _SUM) // 2, 1)

    def _fitted(self, words: str, room: int, *, spaces: bool = False) -> str:
        return display_text(words, max(room, 0), spaces=spaces, ascii_only=self._ascii)
