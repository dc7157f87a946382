"""Where words are readable: their probability in every row at every position."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, ClassVar, Final, Literal

from msgspec import Meta, Struct

from engine.arrays import Array, check_shape
from engine.methods.grid import Positions, Rows, check_rows
from engine.methods.method import Method, Stop, Subject
from engine.records import NonNegative, Part, Reading, Request, Short
from engine.tables import Column, Table

MOST_WORDS: Final = 50
_BEST: Final = 10
"""How many of the best cells a printed table shows for each word."""


class Word(Struct, frozen=True):
    """A word, and the tokens that can begin it."""

    text: Short
    ids: Annotated[tuple[NonNegative, ...], Meta(max_length=100)]
    """The first token of each spelling; their probabilities are summed."""
    several_tokens: bool = False
    """Whether no single token is the whole word, so that only its beginning is followed."""


class WordsRequest(Request, frozen=True):
    """Which words to look for, and where."""

    words: Annotated[tuple[Short, ...], Meta(min_length=1, max_length=MOST_WORDS)]
    """As typed; "#7" is the token of that id."""
    rows: Rows = ()
    """All if empty. The last row is always read too."""
    positions: Annotated[tuple[int, ...], Meta(max_length=2**20)] = ()
    """All if empty; negative ones count back from the last token of the prompt."""
    way: Literal["lens", "vl-interp"] = "lens"
    """"vl-interp" computes as github.com/nickjiang2378/vl-interp does: without the final norm, the
    softmax over the 50 largest logits only, and the largest of a word's tokens, not their sum."""


class WordsPart(Part, frozen=True):
    """How many rows of the grid, on which the probabilities rest, have been read."""

    done: NonNegative
    of: NonNegative


class WordsReading(Reading, frozen=True, kw_only=True, tag="words"):
    """W words in R rows at P positions."""

    request: WordsRequest
    words: tuple[Word, ...]
    rows: Rows
    """Ascending; the last one is L."""
    positions: Positions
    probability: Array
    """float32 [W, R, P]: summed over a word's spellings."""

    def __post_init__(self) -> None:
        check_rows(self.rows, self.positions)
        shape = (len(self.words), len(self.rows), len(self.positions))
        if isinstance(self.probability, Array):
            check_shape("probability", self.probability, "<f4", shape)


class Words(Method[WordsRequest, WordsReading]):
    """Reads one column of the head per spelling, from the kept streams and the grid."""

    name: ClassVar[str] = "words"
    title: ClassVar[str] = "Where a word is readable"
    request = WordsRequest
    reading = WordsReading
    background: ClassVar[bool] = True

    def read(
        self, subject: Subject, request: WordsRequest, stop: Stop
    ) -> Iterator[WordsPart | WordsReading | None]:
        """Read what is missing of the grid, then the words' own columns.

        Raises BadInput for a word that no token of the model begins.
        """
        raise NotImplementedError

    def tables(self, reading: WordsReading) -> tuple[Table, ...]:
        """For each word, the cells where it is most probable."""
        columns = (
            Column("word"), Column("row", "count"), Column("position", "count"),
            Column("probability", "share", "p"),
        )  # fmt: skip
        rows = tuple(
            (word.text, reading.rows[row], reading.positions[place], value)
            for index, word in enumerate(reading.words)
            for row, place, value in best_cells(reading, index, _BEST)
        )
        notes = tuple(
            f"{word.text!r}: only its first token is followed"
            for word in reading.words
            if word.several_tokens
        )
        return (Table("where the words are readable", columns, rows, notes),)


def best_cells(reading: WordsReading, word: int, count: int) -> tuple[tuple[int, int, float], ...]:
    """The most probable cells of a word: (index of its row, index of its position, probability),
    the best first; equal ones in the order of rows and positions."""
    import numpy as np

    values = reading.probability.values[word]
    order = np.argsort(-np.nan_to_num(values, nan=-1.0).ravel(), kind="stable")[:count]
    width = values.shape[1]
    return tuple(
        (int(cell) // width, int(cell) % width, float(values.flat[int(cell)])) for cell in order
    )
