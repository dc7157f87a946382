"""The maps of the words that have been read of a run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from engine.methods.words import Word, WordsReading
from engine.records import Reading, ReadingProof
from tui.state.maps import Map, on_patches


@dataclass(frozen=True, eq=False)
class WordMap:
    """The map of a word."""

    word: Word
    asked: str
    """As it was asked for: as typed, or "#7"."""
    way: str
    """How it was computed: "lens" or "vl-interp"."""
    map: Map
    proof: ReadingProof | None = None

    @property
    def failed(self) -> bool:
        """Whether its proof failed, so that it cannot be trusted."""
        return self.proof is not None and not self.proof.passed


def word_maps(readings: Iterable[Reading], patches: Sequence[int]) -> Iterator[WordMap]:
    """Yield the maps of all words in these readings for the patches at these positions, the newest
    one of each word and way.

    Raises BadInput if an array is damaged.
    """
    newest: dict[tuple[str, str], tuple[WordsReading, int]] = {}
    for reading in readings:
        if isinstance(reading, WordsReading):
            pairs = zip(reading.request.words, reading.words, strict=False)
            for index, (asked, _) in enumerate(pairs):
                newest[asked, reading.request.way] = (reading, index)
    for (asked, way), (reading, index) in newest.items():
        values = reading.probability.values[index]
        found = on_patches(reading.rows, reading.positions, values, patches, "p")
        yield WordMap(reading.words[index], asked, way, found, reading.proof)
