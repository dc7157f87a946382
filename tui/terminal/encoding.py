"""The shortest sequences that write changed cells."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, groupby
from operator import attrgetter
from typing import Final, NamedTuple

from tui.terminal.cells import LOWER_HALF, SECOND_HALF, UPPER_HALF, is_width_agreed
from tui.terminal.pens import PLAIN, Pen, blank_pen, change, has_two_colours, pen_for_blank, turned
from tui.terminal.row import UNKNOWN, Row

_LONGEST_GAP: Final = 5
"""How many unchanged cells may be written again, where that is shorter than jumping over them."""
_NOWHERE: Final = (-1, -1)
_MANY: Final = 50
"""Up to how many pieces both orders are tried."""
_OFTEN: Final = 3
"""From how many pieces on a pen is written on its own."""

_plain: set[str] = {SECOND_HALF, *map(chr, range(0x20, 0x7F))}
"""Cells that are drawn in one way only and that all terminals give the same width, as far as they
have been met: a piece of them is written at once."""


class Piece(NamedTuple):
    """Changed cells side by side that one pen writes."""

    y: int
    start: int
    end: int
    pen: Pen


def pieces_of(y: int, wanted: Row, shown: Row) -> list[Piece]:
    """Return the pieces of a line that have to be written; blanks belong to what precedes them
    wherever its pen writes them, and at the beginning to what follows."""
    pieces: list[Piece] = []
    for first, last in _differences(wanted, shown):
        start = x = first
        pen: Pen | None = None
        only_blanks = True
        for mine, cells in groupby(wanted.pens[first:last]):
            end = x + len(list(cells))
            blank = mine is blank_pen(mine) and _is_blank(wanted.characters[x:end])
            if pen is None:
                pen, only_blanks = mine, blank
            elif blank and pen_for_blank(pen, mine) is pen:
                pass
            elif only_blanks and pen_for_blank(mine, pen) is mine:
                pen, only_blanks = mine, False
            else:
                pieces.append(Piece(y, start, x, pen))
                start, pen, only_blanks = x, mine, blank
            x = end
        if pen is not None:
            pieces.append(Piece(y, start, last, pen))
    return pieces


def _is_blank(cells: Sequence[str]) -> bool:
    return "".join(cells).isspace()


def shortest(pieces: Sequence[Piece], rows: Sequence[Row]) -> str:
    """Return what writes the pieces: line by line, or pen by pen where that is shorter. A change
    of 24-bit colours takes three times the bytes of a move."""
    often = Counter(piece.pen for piece in pieces)
    grouped: dict[Pen, list[Piece]] = {}
    rare: list[Piece] = []
    for piece in pieces:
        if often[piece.pen] < _OFTEN:
            rare.append(piece)
        else:
            grouped.setdefault(piece.pen, []).append(piece)
    alike = sorted(grouped, key=attrgetter("background", "attributes"))
    by_pen = [*chain.from_iterable(grouped[pen] for pen in alike), *rare]
    if len(pieces) <= _MANY:
        return min((_encoded(order, rows) for order in (pieces, by_pen)), key=_bytes)
    # Trying both would take too long. One of 16 colours takes fewer bytes than a move.
    dear = sum(len(piece.pen.foreground) > 2 for piece in pieces)
    return _encoded(by_pen if len(rare) < len(pieces) / 2 < dear else pieces, rows)


def _encoded(pieces: Iterable[Piece], rows: Sequence[Row]) -> str:
    writer = _Writer(rows)
    for piece in pieces:
        writer.write(piece)
    return writer.finish()


class _Writer:
    """Writes pieces, and knows the pen and the place that the terminal then holds."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self._rows = rows
        self._text: list[str] = []
        self._held = PLAIN
        self._place = _NOWHERE
        """Line and column of the cursor. The column is -1 where terminals may not agree: after a
        character whose width they dispute, and past the last column."""

    def write(self, piece: Piece) -> None:
        """Write the cells of a piece."""
        y, start, end, pen = piece
        row = self._rows[y]
        if self._place != (y, start):
            self._go(y, start, row)
        cells = row.characters[start:end]
        if _plain.issuperset(cells):
            text = "".join(cells)
            self._take(pen_for_blank(self._held, pen) if text.isspace() else pen)
            self._text.append(text)
            self._place = (y, end if end < len(row.characters) else -1)
            return
        if cells[0] == " " and row.pens[start] != pen:
            self._take(pen)
        self._write(row, start, end)
        agreed = is_width_agreed(row.characters[_lead(row, end - 1)])
        self._place = (y, end if agreed and end < len(row.characters) else -1)

    def finish(self) -> str:
        """Return everything, with the plain pen at the end."""
        self._text.append(change(self._held, PLAIN))
        return "".join(self._text)

    def _go(self, y: int, x: int, row: Row) -> None:
        line, at = self._place
        if line != y:
            jump = f"\x1b[{y + 1};{x + 1}H" if x else f"\x1b[{y + 1}H"
            if 0 <= line == y - 1:
                # One line down (IND); there is one, so nothing scrolls.
                jump = min(jump, "\x1bD" + _along(at, x), key=len)
            self._text.append(jump)
            return
        jump = _along(at, x)
        again = self._again(row, at, x) if 0 <= at < x else None
        if again is not None:
            text, held = again
            if _bytes(text) + _bytes(self._to(held, row, x)) <= len(jump) + _bytes(
                self._to(self._held, row, x)
            ):
                self._text.append(text)
                self._held = held
                return
        self._text.append(jump)

    def _again(self, row: Row, start: int, end: int) -> tuple[str, Pen] | None:
        """Return what writes unchanged cells once more and the pen that is held then, or None
        where it would not be short or safe."""
        if end - start > _LONGEST_GAP:
            return None
        text, held = [], self._held
        for x in range(start, end):
            cell = row.characters[x]
            if cell == UNKNOWN or not (cell == SECOND_HALF or is_width_agreed(cell)):
                return None
            cell, pen = _look(held, row, x)
            text.append(change(held, pen) + cell)
            held = pen
        return "".join(text), held

    def _write(self, row: Row, start: int, end: int) -> None:
        """Write cells one by one, since they can be drawn in two ways, or the terminal may take
        them for wider or narrower than they are."""
        for x in range(start, end):
            cell = row.characters[x]
            if cell == SECOND_HALF:
                continue
            cell, pen = _look(self._held, row, x)
            self._take(pen)
            self._text.append(cell)
            if cell in (UPPER_HALF, LOWER_HALF):
                continue
            if is_width_agreed(cell):
                _plain.add(cell)
                continue
            after = _after(row, x + 1)
            if after < end:
                self._text.append(f"\x1b[{after + 1}G")

    def _take(self, pen: Pen) -> None:
        if pen is not self._held:
            self._text.append(change(self._held, pen))
            self._held = pen

    def _to(self, held: Pen, row: Row, x: int) -> str:
        return change(held, _look(held, row, x)[1])


def _differences(wanted: Row, shown: Row) -> Iterator[tuple[int, int]]:
    """Yield start and end of every run of known cells that differ. A wide character is never cut:
    its halves always differ together, or its second half has no cell of its own to write."""
    changed = [
        x
        for x, (new, old, pen, old_pen) in enumerate(
            zip(wanted.characters, shown.characters, wanted.pens, shown.pens, strict=True)
        )
        if (new != old or pen != old_pen) and new != UNKNOWN
    ]
    start = end = -1
    for x in changed:
        if x != end:
            if end > start:
                yield start, _after(wanted, end)
            start = _lead(wanted, x)
        end = x + 1
    if end > start:
        yield start, _after(wanted, end)


def _after(row: Row, x: int) -> int:
    while x < len(row.characters) and row.characters[x] == SECOND_HALF:
        x += 1
    return x


def _along(at: int, x: int) -> str:
    """Return the shortest move from column `at` (-1 if it is not certain) to column `x`."""
    column = f"\x1b[{x + 1}G" if x else "\r"
    if at < 0 or x == at:
        return column if at < 0 else ""
    steps = abs(x - at)
    if x < at and steps < len(column):
        return "\b" * steps
    return min(f"\x1b[{steps if steps > 1 else ''}{'C' if x > at else 'D'}", column, key=len)


def _lead(row: Row, x: int) -> int:
    """Return the column in which the character at column `x` begins."""
    while row.characters[x] == SECOND_HALF and x:
        x -= 1
    return x


def _look(held: Pen, row: Row, x: int) -> tuple[str, Pen]:
    """Return the character and the pen to write a cell with: of those that look the same, the
    ones for which the pen held changes least."""
    cell, pen = row.characters[x], row.pens[x]
    if cell == " ":
        return cell, pen_for_blank(held, pen)
    if cell == UPPER_HALF and has_two_colours(pen):
        above, below = pen.foreground, pen.background
        changes = (above != held.foreground) + (below != held.background)
        changes_turned = (below != held.foreground) + (above != held.background)
        if changes_turned < changes:
            return LOWER_HALF, turned(pen)
    return cell, pen


def _bytes(text: str) -> int:
    return len(text.encode("utf-8", "replace"))
