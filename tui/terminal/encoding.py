"""The shortest sequences that write changed cells."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from tui.terminal.cells import LOWER_HALF, SECOND_HALF, UPPER_HALF, is_width_agreed
from tui.terminal.pens import PLAIN, Pen, change, pen_for_blank, turned
from tui.terminal.row import UNKNOWN, Row

_LONGEST_GAP: Final = 12
"""How many unchanged cells may be written again, where that is shorter than jumping over them."""
_NOWHERE: Final = (-1, -1)


class Piece(NamedTuple):
    """Changed cells side by side that one pen writes."""

    y: int
    start: int
    end: int
    pen: Pen


def pieces_of(y: int, wanted: Row, shown: Row) -> Iterator[Piece]:
    """Yield the pieces of a line that have to be written; blanks belong to what precedes them
    wherever its pen writes them."""
    for first, last in _differences(wanted, shown):
        start, pen = first, None
        for x in range(first, last):
            mine, cell = wanted.pens[x], wanted.characters[x]
            if cell == SECOND_HALF or mine is pen:
                continue
            if pen is None:
                pen = mine
            elif cell == " " and pen_for_blank(pen, mine) is pen:
                continue
            elif mine != pen:
                begins_blank = all(cell == " " for cell in wanted.characters[start:x])
                if begins_blank and pen_for_blank(mine, pen) is mine:
                    pen = mine
                    continue
                yield Piece(y, start, x, pen)
                start, pen = x, mine
        if pen is not None:
            yield Piece(y, start, last, pen)


def shortest(pieces: Sequence[Piece], rows: Sequence[Row]) -> str:
    """Return what writes the pieces: line by line, or pen by pen where that is shorter. A change
    of 24-bit colours takes three times the bytes of a move."""
    text = _encoded(pieces, rows)
    often = Counter(piece.pen for piece in pieces)
    repeated = sum(count for count in often.values() if count > 1)
    if 2 * repeated < len(pieces):
        return text
    grouped: dict[Pen | None, list[Piece]] = {}
    for piece in pieces:
        grouped.setdefault(piece.pen if often[piece.pen] > 1 else None, []).append(piece)
    alone = grouped.pop(None, [])
    by_pen = _encoded([piece for group in grouped.values() for piece in group] + alone, rows)
    return min(text, by_pen, key=_bytes)


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
        """Line and column of the cursor. The column is -1 where terminals may not agree."""

    def write(self, piece: Piece) -> None:
        """Write the cells of a piece."""
        y, start, end, pen = piece
        row = self._rows[y]
        if self._place != (y, start):
            self._go(y, start, row)
        if row.characters[start] == " " and row.pens[start] != pen:
            # The blanks at the beginning are written with the pen of what follows them.
            self._take(pen)
        self._write(row, start, end)
        sure = is_width_agreed(row.characters[_lead(row, end - 1)])
        self._place = (y, end if sure else -1)

    def finish(self) -> str:
        """Return everything, with the plain pen at the end."""
        self._text.append(change(self._held, PLAIN))
        return "".join(self._text)

    def _go(self, y: int, x: int, row: Row) -> None:
        line, at = self._place
        if line != y:
            self._text.append(f"\x1b[{y + 1};{x + 1}H" if x else f"\x1b[{y + 1}H")
            return
        column = f"\x1b[{x + 1}G"
        if at < 0 or x < at:
            self._text.append(column)
            return
        steps = f"\x1b[{x - at}C" if x - at > 1 else "\x1b[C"
        jump = min(steps, column, key=len)
        again = self._again(row, at, x)
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
        for x in range(start, end):
            cell = row.characters[x]
            if cell == SECOND_HALF:
                continue
            cell, pen = _look(self._held, row, x)
            self._take(pen)
            self._text.append(cell)
            if not cell.isascii() and not is_width_agreed(cell):
                after = x + 1
                while after < end and row.characters[after] == SECOND_HALF:
                    after += 1
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
    run: int | None = None
    for x, (character, pen, old, old_pen) in enumerate(
        zip(wanted.characters, wanted.pens, shown.characters, shown.pens, strict=True)
    ):
        if (character == old and pen == old_pen) or character == UNKNOWN:
            if run is not None and character != SECOND_HALF:
                yield run, x
                run = None
        elif run is None:
            run = x if character != SECOND_HALF else _lead(wanted, x)
    if run is not None:
        yield run, len(wanted.characters)


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
    if cell == UPPER_HALF and pen.foreground and pen.background and not pen.attributes:
        above, below = pen.foreground, pen.background
        changes = (above != held.foreground) + (below != held.background)
        changes_turned = (below != held.foreground) + (above != held.background)
        if changes_turned < changes:
            return LOWER_HALF, turned(pen)
    return cell, pen


def _bytes(text: str) -> int:
    return len(text.encode("utf-8", "replace"))
