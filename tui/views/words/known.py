"""What is known so far about the patches of a run: the grid row by row, and the maps of words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.errors import BadInput
from engine.methods.grid import GridPart, GridReading
from engine.methods.words import Word, WordsReading
from engine.records import Reading
from tui.views.words.maps import Floats, Map, on_patches

Ints = npt.NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class GridRow:
    """One row of the grid at n patches."""

    ids: Ints
    """int32 [n]: the best token; -1 where it has not been read."""
    share: Floats
    """float32 [n]: its probability."""
    entropy: Floats
    rms: Floats


class KnownCells:
    """The grid at the patches, as far as it has been read."""

    def __init__(self, patches: Sequence[int]) -> None:
        """`patches` are the positions of the patches."""
        self._patches = tuple(patches)
        self.rows: dict[int, GridRow] = {}
        self.texts: dict[int, str] = {}
        """Token id -> text."""
        self.sinks: frozenset[int] = frozenset()
        """The patches with massive activations."""
        self.of = 0
        """How many rows the grid has when it is whole."""

    def take(self, found: GridPart | GridReading) -> None:
        """Add rows. Raises BadInput if their arrays are damaged or do not fit together."""
        cells = (len(found.rows), len(found.positions))
        ids = found.ids.values
        arrays = [each.values for each in (found.logits, found.lse, found.entropy, found.rms)]
        if ids.ndim != 3 or ids.shape[:2] != cells or ids.shape[2] < 1:
            raise BadInput("the grid's arrays do not fit together")
        if any(array.shape != cells for array in arrays):
            raise BadInput("the grid's arrays do not fit together")
        with np.errstate(over="ignore", invalid="ignore"):
            share = np.minimum(np.exp(arrays[0] - arrays[1]), 1)
        places = {position: place for place, position in enumerate(found.positions)}
        columns = np.array([places.get(each, -1) for each in self._patches], dtype=np.intp)
        for index, row in enumerate(found.rows):
            self.rows[row] = GridRow(
                _picked(ids[index, :, 0], columns, -1),
                *(_picked(each[index], columns, np.nan) for each in (share, *arrays[2:])),
            )
        self.texts.update(found.texts)
        sunk = set(found.sinks)
        more = {patch for patch, place in enumerate(self._patches) if place in sunk}
        self.sinks |= more
        self.of = found.of if isinstance(found, GridPart) else len(found.rows)

    @property
    def whole(self) -> bool:
        """Whether every row has been read."""
        return bool(self.of) and len(self.rows) >= self.of

    def map(self, kind: str) -> Map:
        """Return the map of "entropy" or "rms" over the rows that have been read."""
        rows = sorted(self.rows)
        stacked = np.empty((len(rows), len(self._patches)), np.float32)
        for index, row in enumerate(rows):
            stacked[index] = getattr(self.rows[row], kind)
        stacked[np.isinf(stacked)] = np.nan
        return Map(tuple(rows), stacked, "nats" if kind == "entropy" else "rms")


def _picked(values: npt.NDArray[Any], columns: npt.NDArray[np.intp], missing: float) -> Any:
    found = np.full(len(columns), missing, values.dtype)
    known = columns >= 0
    found[known] = values[columns[known]]
    return found


@dataclass(frozen=True, eq=False)
class WordMap:
    """The map of a word."""

    word: Word
    way: str
    """How it was computed: "lens" or "vl-interp"."""
    map: Map


def word_maps(readings: Iterable[Reading], patches: Sequence[int]) -> Iterator[WordMap]:
    """Yield the maps of all words in these readings, the newest one of each word and way.

    Raises BadInput if an array is damaged.
    """
    newest: dict[tuple[tuple[int, ...], str, str], tuple[WordsReading, int]] = {}
    for reading in readings:
        if isinstance(reading, WordsReading):
            for index, word in enumerate(reading.words):
                newest[word.ids, word.text, reading.request.way] = (reading, index)
    for reading, index in newest.values():
        values = reading.probability.values[index]
        found = on_patches(reading.rows, reading.positions, values, patches, "p")
        yield WordMap(reading.words[index], reading.request.way, found)
