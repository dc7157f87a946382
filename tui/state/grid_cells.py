"""What is known of a run's grid: the cells that have arrived, row by row."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from engine.errors import BadInput
from engine.methods.grid import GridPart, GridReading
from engine.methods.words import WordsReading

if TYPE_CHECKING:
    import numpy as np

    Numbers = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class GridCell:
    """One row at one position."""

    id: int
    """The best token."""
    text: str
    probability: float
    entropy: float
    rms: float
    kl: float | None = None


class Cells(Protocol):
    """What a grid is drawn from: a cell for every row and column that is known."""

    @property
    def sinks(self) -> frozenset[int]:
        """Positions with massive activations."""
        ...

    def cell(self, row: int, position: int) -> GridCell | None:
        """Return a cell; None where it is not known."""
        ...

    def common(self, row: int, first: int, last: int) -> tuple[GridCell, int, int] | None:
        """Return the cell of the token that is best at most of some columns, at how many of them,
        and of how many known ones; None where none is known."""
        ...

    def word(self, token: int, row: int, position: int) -> float | None:
        """Return the probability of a token in a cell; None where it is not known."""
        ...


@dataclass(frozen=True)
class _Block:
    """Arrays [R, P] that have arrived together."""

    positions: Sequence[int]
    arrays: dict[str, Numbers]

    def at(self, position: int) -> int | None:
        """Return the column of a position; None if there is none."""
        column = bisect_left(self.positions, position)
        found = column < len(self.positions) and self.positions[column] == position
        return column if found else None

    def between(self, first: int, last: int) -> slice:
        """Return the columns of the positions from `first` to `last`."""
        return slice(bisect_left(self.positions, first), bisect_right(self.positions, last))


_Line = tuple[_Block, int]
"""A row of a block, by its index."""


class GridCells:
    """The cells of one run; rows and positions that are missing have none.

    Nothing is copied: what a session holds takes no more memory than its arrays.
    """

    def __init__(self) -> None:
        self._lines: dict[int, list[_Line]] = {}
        self._words: dict[int, dict[int, list[_Line]]] = {}
        self._common: dict[int, dict[tuple[int, int], tuple[int, int, int]]] = {}
        self._texts: dict[int, str] = {}
        self._sinks: frozenset[int] = frozenset()
        self.failed: str | None = None
        """Why the cells cannot be trusted, or cannot be read, or None."""

    @property
    def sinks(self) -> frozenset[int]:
        """Positions with massive activations."""
        return self._sinks

    @property
    def rows(self) -> int:
        """How many rows have arrived, at least at some positions."""
        return len(self._lines)

    def has_row(self, row: int) -> bool:
        """Return whether anything is known of a row."""
        return row in self._lines

    def has(self, row: int, position: int, *, kl: bool = False) -> bool:
        """Return whether a cell is known, with its divergence if that is wanted."""
        lines = self._lines.get(row, ())
        if kl:
            lines = [line for line in lines if "kl" in line[0].arrays]
        return _find(lines, position) is not None

    def add(self, found: GridPart | GridReading) -> None:
        """Take in some rows, or a whole reading. What is damaged sets `failed`."""
        try:
            self._add(found)
        except (BadInput, ValueError, IndexError) as error:
            self.failed = f"the grid cannot be read: {error}"

    def add_words(self, found: WordsReading) -> None:
        """Take in where single tokens are readable; words that were spelled out have no place
        here."""
        if found.request.way != "lens":
            return
        try:
            values = found.probability.values
        except BadInput as error:
            self.failed = f"the grid cannot be read: {error}"
            return
        for index, word in enumerate(found.words):
            if len(word.ids) != 1 or found.request.words[index : index + 1] != (f"#{word.ids[0]}",):
                continue
            block = _Block(found.positions, {"probability": values[index]})
            lines = self._words.setdefault(word.ids[0], {})
            for place, row in enumerate(found.rows):
                lines.setdefault(row, []).append((block, place))

    def cell(self, row: int, position: int) -> GridCell | None:
        """Return a cell; None where it is not known."""
        place = _find(self._lines.get(row, ()), position)
        if place is None:
            return None
        block, index, column = place
        token = int(block.arrays["ids"][index, column])

        def value(name: str) -> float:
            return float(block.arrays[name][index, column])

        with_kl = [line for line in self._lines[row] if "kl" in line[0].arrays]
        kl = _find(with_kl, position)
        return GridCell(
            token,
            self._texts.get(token, ""),
            value("probability"),
            value("entropy"),
            value("rms"),
            None if kl is None else float(kl[0].arrays["kl"][kl[1], kl[2]]),
        )

    def figures(
        self, row: int, name: Literal["entropy", "rms"], positions: Sequence[int]
    ) -> Numbers:
        """Return float32 [n], a figure of one row at n positions; NaN where it is not known."""
        import numpy as np

        found = np.full(len(positions), np.nan, np.float32)
        wanted = np.asarray(positions, np.int64)
        for block, index in self._lines.get(row, ()):
            places = np.asarray(block.positions, np.int64)
            columns = np.searchsorted(places, wanted)
            columns[columns == len(places)] = 0
            there = places[columns] == wanted if len(places) else np.zeros(len(wanted), bool)
            found[there] = block.arrays[name][index, columns[there]]
        return found

    def common(self, row: int, first: int, last: int) -> tuple[GridCell, int, int] | None:
        """Return the cell of the first position from `first` to `last` whose best token is the one
        that most of them have, how many have it, and how many are known; None where no cell is
        known."""
        known = self._common.setdefault(row, {})
        if (first, last) not in known:
            found = self._most_common(row, first, last)
            if found is None:
                return None
            known[first, last] = found
        place, count, total = known[first, last]
        cell = self.cell(row, place)
        return None if cell is None else (cell, count, total)

    def word(self, token: int, row: int, position: int) -> float | None:
        """Return the probability of a token in a cell; None where it has not been read."""
        found = _find(self._words.get(token, {}).get(row, ()), position)
        if found is None:
            return None
        value = float(found[0].arrays["probability"][found[1], found[2]])
        return None if value != value else value

    def _most_common(self, row: int, first: int, last: int) -> tuple[int, int, int] | None:
        import numpy as np

        for block, index in reversed(self._lines.get(row, ())):
            columns = block.between(first, last)
            ids = block.arrays["ids"][index, columns]
            if len(ids):
                tokens, counts = np.unique(ids, return_counts=True)
                best = int(np.argmax(counts))
                place = columns.start + int(np.argmax(ids == tokens[best]))
                return block.positions[place], int(counts[best]), len(ids)
        return None

    def _add(self, found: GridPart | GridReading) -> None:
        import numpy as np

        logits, lse = found.logits.values, found.lse.values
        with np.errstate(over="ignore", invalid="ignore"):
            probability = np.clip(np.exp(logits - lse), 0.0, 1.0)
        arrays = {
            "ids": found.ids.values[..., 0],
            "probability": probability,
            "entropy": found.entropy.values,
            "rms": found.rms.values,
        }
        if found.kl_to_last is not None:
            arrays["kl"] = found.kl_to_last.values
        cells = (len(found.rows), len(found.positions))
        if any(values.shape != cells for values in arrays.values()):
            raise ValueError("its arrays have other shapes than its rows and positions")
        block = _Block(found.positions, arrays)
        for index, row in enumerate(found.rows):
            self._common.pop(row, None)
            lines = self._lines.setdefault(row, [])
            # What is known of all these positions is not needed any more.
            lines[:] = [line for line in lines if not _covers(block, line[0])]
            lines.append((block, index))
        self._texts |= found.texts
        self._sinks |= frozenset(found.sinks)
        if isinstance(found, GridReading) and found.proof is not None and not found.proof.passed:
            self.failed = "the grid's proof failed, do not believe it"


def _find(lines: Sequence[_Line], position: int) -> tuple[_Block, int, int] | None:
    """Return the block, the row's index in it and the column of a position, the newest first."""
    for block, index in reversed(lines):
        column = block.at(position)
        if column is not None:
            return block, index, column
    return None


def _covers(new: _Block, old: _Block) -> bool:
    """Return whether a block has all positions and figures of an older one."""
    if "kl" in old.arrays and "kl" not in new.arrays:
        return False
    return new.positions == old.positions or set(old.positions) <= set(new.positions)
