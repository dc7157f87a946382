"""What is known of a run's grid: the cells that have arrived, row by row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from engine.errors import BadInput
from engine.methods.grid import GridPart, GridReading
from engine.methods.words import WordsReading

if TYPE_CHECKING:
    import numpy as np

    Floats = np.ndarray[Any, np.dtype[np.float32]]
    Ints = np.ndarray[Any, np.dtype[np.int32]]


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


@dataclass(frozen=True)
class _Row:
    ids: Ints
    """[T], -1 where nothing is known; the other arrays are NaN there."""
    probability: Floats
    entropy: Floats
    rms: Floats
    kl: Floats | None

    def over(self, older: _Row) -> _Row:
        """Return this row, with what only the older one knows."""
        import numpy as np

        known = self.ids >= 0
        if known.all() and (self.kl is not None or older.kl is None):
            return self
        kl = self.kl if older.kl is None else older.kl
        if self.kl is not None and older.kl is not None:
            kl = np.where(np.isnan(self.kl), older.kl, self.kl)
        return _Row(
            np.where(known, self.ids, older.ids),
            np.where(known, self.probability, older.probability),
            np.where(known, self.entropy, older.entropy),
            np.where(known, self.rms, older.rms),
            kl,
        )


class GridCells:
    """The cells of one run; rows and positions that are missing have none."""

    def __init__(self, count: int) -> None:
        """`count` is how many tokens the prompt has."""
        self._count = count
        self._rows: dict[int, _Row] = {}
        self._common: dict[tuple[int, int, int], tuple[int, int, int]] = {}
        self._texts: dict[int, str] = {}
        self._words: dict[int, dict[int, Floats]] = {}
        self.sinks: frozenset[int] = frozenset()
        """Positions with massive activations."""
        self.of = 0
        """How many rows the grid will have; 0 if that is not known."""
        self.failed: str | None = None
        """Why the cells cannot be trusted or read, or None."""
        self.revision = 0
        """Incremented whenever cells arrive."""

    @property
    def rows(self) -> int:
        """How many rows have arrived."""
        return len(self._rows)

    def add(self, found: GridPart | GridReading) -> None:
        """Take in some rows, or a whole reading. Damaged arrays set `failed`."""
        self.revision += 1
        self._common.clear()
        try:
            self._add(found)
        except (BadInput, ValueError, IndexError) as error:
            self.failed = f"the grid cannot be read: {error}"

    def add_words(self, found: WordsReading) -> None:
        """Take in where single tokens are readable, for the heat of a word. A reading of spelled
        words has no place here."""
        import numpy as np

        if found.request.way != "lens":
            return
        try:
            values = found.probability.values
        except BadInput as error:
            self.failed = f"the grid cannot be read: {error}"
            return
        kept, columns = self._columns(found.positions)
        for index, word in enumerate(found.words):
            if len(word.ids) != 1 or found.request.words[index : index + 1] != (f"#{word.ids[0]}",):
                continue
            rows = self._words.setdefault(word.ids[0], {})
            for place, row in enumerate(found.rows):
                line = rows.get(row)
                line = np.full(self._count, np.nan, np.float32) if line is None else line.copy()
                line[columns] = values[index, place][kept]
                rows[row] = line
        self.revision += 1

    def has_row(self, row: int) -> bool:
        """Return whether anything is known of a row."""
        return row in self._rows

    def has_kl(self, row: int) -> bool:
        """Return whether the divergence from the last row is known of a row."""
        known = self._rows.get(row)
        return known is not None and known.kl is not None

    def cell(self, row: int, position: int) -> GridCell | None:
        """Return a cell; None where it is not known."""
        known = self._rows.get(row)
        if known is None or not 0 <= position < self._count or known.ids[position] < 0:
            return None
        token = int(known.ids[position])
        kl = None if known.kl is None else float(known.kl[position])
        return GridCell(
            token,
            self._texts.get(token, ""),
            float(known.probability[position]),
            float(known.entropy[position]),
            float(known.rms[position]),
            None if kl is None or kl != kl else kl,
        )

    def line(self, row: int, figure: Literal["entropy", "rms"]) -> Floats | None:
        """Return float32 [T], a figure of one row at all positions, NaN where it is not known; None
        for a row that has not arrived."""
        known = self._rows.get(row)
        if known is None:
            return None
        return known.entropy if figure == "entropy" else known.rms

    def common(self, row: int, first: int, last: int) -> tuple[GridCell, int, int] | None:
        """Return the cell of the first position from `first` to `last` whose best token is the one
        that most of them have, how many have it, and how many are known; None where no cell is
        known."""
        import numpy as np

        known = self._rows.get(row)
        if known is None:
            return None
        key = (row, first, last)
        if key not in self._common:
            ids = known.ids[first : last + 1]
            found, counts = np.unique(ids[ids >= 0], return_counts=True)
            if not len(found):
                return None
            best = int(np.argmax(counts))
            place = int(np.argmax(ids == found[best]))
            self._common[key] = (first + place, int(counts[best]), int(counts.sum()))
        place, count, total = self._common[key]
        cell = self.cell(row, place)
        return None if cell is None else (cell, count, total)

    def word(self, token: int, row: int, position: int) -> float | None:
        """Return the probability of a token in a cell; None where it has not been read."""
        line = self._words.get(token, {}).get(row)
        if line is None or not 0 <= position < self._count:
            return None
        value = float(line[position])
        return None if value != value else value

    def _columns(self, positions: tuple[int, ...]) -> tuple[Any, Any]:
        """Return which of these positions are tokens of the prompt, and those."""
        import numpy as np

        columns = np.asarray(positions, np.int64)
        kept = columns < self._count
        return kept, columns[kept]

    def _add(self, found: GridPart | GridReading) -> None:
        import numpy as np

        ids, logits, lse = found.ids.values, found.logits.values, found.lse.values
        entropy, rms = found.entropy.values, found.rms.values
        kl = None if found.kl_to_last is None else found.kl_to_last.values
        cells = (len(found.rows), len(found.positions))
        shapes = [values.shape for values in (ids[..., 0], logits, lse, entropy, rms)]
        if any(shape != cells for shape in (*shapes, *([kl.shape] if kl is not None else []))):
            raise ValueError("its arrays have other shapes than its rows and positions")
        kept, columns = self._columns(found.positions)
        with np.errstate(over="ignore", invalid="ignore"):
            probability = np.clip(np.exp(logits - lse), 0.0, 1.0)

        def line(values: Floats) -> Floats:
            whole = np.full(self._count, np.nan, np.float32)
            whole[columns] = values[kept]
            return whole

        for index, row in enumerate(found.rows):
            best = np.full(self._count, -1, np.int32)
            best[columns] = ids[index, :, 0][kept]
            new = _Row(
                best,
                line(probability[index]),
                line(entropy[index]),
                line(rms[index]),
                None if kl is None else line(kl[index]),
            )
            older = self._rows.get(row)
            self._rows[row] = new if older is None else new.over(older)
        self._texts |= found.texts
        self.sinks |= frozenset(found.sinks)
        if isinstance(found, GridPart):
            self.of = found.of
        elif found.proof is not None and not found.proof.passed:
            self.failed = "the grid's proof failed, do not believe it"
