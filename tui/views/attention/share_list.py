"""The layers, each with two bars of shares side by side: raw, and with sinks taken out. Above them
the numbers of the layer under the cursor."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np
import numpy.typing as npt

from tui.text.numbers import figure
from tui.text.phrases import TERMS
from tui.text.show import display_text
from tui.views.attention.bars import GroupLook, group_looks, stacked_bar
from tui.views.attention.known import LayerShares
from tui.widgets.explaining import Caption, Kind
from tui.widgets.led_rows import LedRows
from tui.widgets.styles import Segments, Styles

_LAYER: Final = 5
"""Cells of a layer's number, a mark and a blank."""
_REACH: Final = 7
_LABELS: Final = (("raw", "without sinks"), ("raw", "no sinks"), ("raw", "w/o"))
"""Of the two lines of numbers, and of the two bars, as they fit."""
_MOST_COLUMN: Final = 9
_LEAST_COLUMN: Final = 4
_ROOM_FOR_DECIMALS: Final = 6
_CUT_NAME: Final = 4


@dataclass(frozen=True, eq=False)
class SharesShown:
    """What the list shows."""

    lines: tuple[LayerShares, ...] = ()
    groups: tuple[str, ...] = ()
    """Names, untrusted."""
    head: int | None = None
    cursor: int = 0


class ShareList(LedRows):
    """Shows the shares of every layer; the screen moves its cursor."""

    HEAD: ClassVar[int] = 4

    def __init__(self, *, ascii_only: bool, letters: bool) -> None:
        """With `letters`, bars are made of letters in place of colours."""
        super().__init__(ascii_only=ascii_only)
        self._letters = letters
        self._shown = SharesShown()

    def show(self, shown: SharesShown) -> None:
        """Show these shares, with the cursor at a line."""
        self._shown = shown
        self.put_cursor(shown.cursor)
        self.refresh_rows()

    @property
    def count(self) -> int:
        """Return the number of lines."""
        return len(self._shown.lines)

    def look_of(self, key: int) -> object:
        """Return the line's shares, the head and the groups; the head of the list shows those of
        the line under the cursor."""
        shown = self._shown
        row = shown.cursor if key < 0 else key
        reach = any(line.reach for line in shown.lines)  # it takes room from the bars
        line = shown.lines[row] if row < len(shown.lines) else None
        return (line, shown.head, shown.groups, reach)

    def captions(self) -> Iterable[Caption]:
        """Return the groups, what the lines of numbers are, what the bars are, and how far layers
        reach."""
        yield Caption(0, otherwise=TERMS["share"])
        yield from (Caption(line) for line in range(1, self.head_height))
        start = self.size.width - _REACH
        if any(line.reach for line in self._shown.lines):
            for line in range(self.head_height, self.size.height):
                yield Caption(line, start, kind=Kind.MARKS)

    def draw_head(self, line: int, width: int, styles: Styles) -> Segments:
        """Draw the groups' names, the numbers of the line under the cursor, or the bars' names."""
        shown = self._shown
        if line == self.HEAD - 1:
            bar = self._bar_width(width - 1)
            raw, without = next(
                labels for labels in _LABELS if len(labels[1]) <= bar or labels is _LABELS[-1]
            )
            over = f"{raw:<{bar}.{bar}} {without:<{bar}.{bar}}"
            return [(" " * (_LAYER + 1) + over, styles.faint)]
        looks = self._group_looks(styles)
        names, column = number_columns(width, len(looks))
        here = shown.lines[shown.cursor] if shown.cursor < len(shown.lines) else None
        if line == 0:
            label = "" if here is None else label_in(here.layer, shown.head, names)
            cells = [(name_in(look, column), look.word) for look in looks]
            return [(f" {label:<{names}}", styles.text), *cells]
        labels = next(
            labels for labels in _LABELS if len(labels[1]) < names or labels is _LABELS[-1]
        )
        values = None
        if here is not None:
            values = here.raw_of(shown.head) if line == 1 else here.without_of(shown.head)
        if values is not None and line == 2:
            values = np.append(values, np.float32("nan"))
        cells = [(text, styles.text) for text in numbers_in(values, column, len(looks))]
        return [(f" {labels[line - 1]:<{names}.{names}}", styles.faint), *cells]

    def draw_row(self, row: int, width: int, styles: Styles) -> Segments:
        """Draw a line: the layer and its two bars, or why there are none."""
        shown = self._shown
        line = shown.lines[row]
        mark = ("x" if self._ascii else "×") if line.keys == "states" else " "
        label = (f"{line.layer:>{_LAYER - 2}}{mark} ", styles.faint)
        room = width - _LAYER
        if line.reason or (line.raw is None and line.is_read):
            words = line.reason or f"looks at {line.states} states"
            return [label, (self._fitted(words, room), styles.faint)]
        if line.raw is None:
            return [label]
        looks, bar = self._group_looks(styles), self._bar_width(width)
        raw, without = line.raw_of(shown.head), line.without_of(shown.head)
        return [
            label,
            *stacked_bar(raw, bar, looks, styles.text, letters=self._letters),
            (" ", styles.text),
            *stacked_bar(without, bar, looks, styles.text, letters=self._letters),
            (self._reach(line), styles.faint),
        ]

    def _reach(self, line: LayerShares) -> str:
        if not line.reach:
            return ""
        return f" {'>=' if self._ascii else '≥'}{line.reach}"

    def _bar_width(self, width: int) -> int:
        """Return the cells of each bar in a line of so many cells, without the gutter."""
        reach = _REACH if any(line.reach for line in self._shown.lines) else 0
        return max((width - _LAYER - 1 - reach) // 2, 1)

    def _group_looks(self, styles: Styles) -> list[GroupLook]:
        return group_looks(self._shown.groups, styles, ascii_only=self._ascii)

    def _fitted(self, words: str, room: int) -> str:
        return display_text(words, max(room, 0), spaces=False, ascii_only=self._ascii)


def number_columns(width: int, count: int) -> tuple[int, int]:
    """Return the cells of the label and of each of `count` columns of numbers in a line."""
    column = min(max((width - 10) // max(count, 1), _LEAST_COLUMN), _MOST_COLUMN)
    return max(min(width - 1 - column * count, 14), 3), column


def label_in(layer: int, head: int | None, width: int) -> str:
    """Return a layer and a head in at most so many cells; the head alone where both do not fit, and
    nothing where a number would be cut."""
    words: tuple[str, ...] = (f"layer {layer} mean", f"{layer} mean", f"{layer}")
    if head is not None:
        words = (
            f"layer {layer} head {head}",
            f"{layer} head {head}",
            f"{layer}.{head}",
            f".{head}",
        )
    return next((each for each in words if len(each) <= width), "")


def name_in(look: GroupLook, column: int) -> str:
    """Return a group's name for the head of a column, right-aligned as the numbers; four letters of
    a name that does not fit."""
    name = look.name.partition(" ")[0]
    room = column - 1
    return (name if len(name) <= room else name[: min(_CUT_NAME, room)]).rjust(column)


def numbers_in(shares: npt.NDArray[np.float32] | None, column: int, count: int) -> list[str]:
    """Return each share as a percentage in a column; what is no number has a dash, and what is not
    known is blank."""
    if shares is None:
        return [" " * column] * count
    return [_number_in(float(share), column).rjust(column) for share in shares[:count]]


def _number_in(share: float, column: int) -> str:
    if np.isnan(share):
        return "-"
    if column >= _ROOM_FOR_DECIMALS:
        return figure(share).strip() if share >= 0.1 or share < 0.00005 else f"{share * 100:.1f}%"
    return f"{share * 100:.0f}" if column <= _LEAST_COLUMN else f"{share * 100:.0f}%"
