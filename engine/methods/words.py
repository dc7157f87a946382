"""Where words are readable: their probability in every row at every position."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, Literal

from msgspec import Meta, Struct

from engine.arrays import Array, check_shape
from engine.errors import BadInput
from engine.methods.grid import Positions, Rows, check_rows, misfit, ordered_rows, refuse_too_many
from engine.methods.method import Method, Stop, Subject
from engine.records import NonNegative, Part, Reading, ReadingProof, Request, Run, Short, finite
from engine.system.steps import stopping
from engine.tables import Column, Table

if TYPE_CHECKING:
    from engine.lens.grid import GridFill

MOST_WORDS: Final = 50
VL_INTERP_TOP: Final = 50
AS_THEIRS: Final = (
    "computed as vl-interp does, for comparison: without the final norm, over the 50 largest "
    "logits only; the lens's own figures are others"
)
_LEAST: Final = 1e-30
"""Probabilities below are not compared: float32 has few digits there."""
_ID: Final = re.compile(r"#(\d{1,9})")
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

    @property
    def reaches(self) -> int:
        """See `Reading.reaches`."""
        return max(self.positions, default=-1)

    def misfit(self, run: Run) -> str | None:
        """See `Reading.misfit`."""
        return misfit(run, self.rows, self.positions)


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

        Raises BadInput for a word that no token of the model begins, and what the grid raises.
        """
        from engine.lens.grid import probabilities_of

        run = subject.run
        words = tuple(_word(subject, text) for text in request.words)
        rows = ordered_rows(request.rows, run.layers)
        refuse_too_many(run, len(rows) * len(words), request.positions)
        as_theirs = request.way == "vl-interp"
        fill = subject.fill(
            request.positions, top=VL_INTERP_TOP if as_theirs else 1, norm=not as_theirs
        )
        for _ in stopping(fill.fill(rows), stop):
            yield WordsPart(sum(row in fill.rows for row in rows), len(rows))
        if as_theirs:
            probability = _among_top(fill, rows, words)
        else:
            steps = probabilities_of(fill, rows, [word.ids for word in words])
            probability = (yield from stopping(steps, stop)).numpy()
        proof = _proved(fill, rows, words, None if as_theirs else probability, subject, stop)
        yield WordsReading(
            request=request,
            proof=proof,
            reason=AS_THEIRS if as_theirs else "",
            words=words,
            rows=rows,
            positions=fill.streams.positions,
            probability=Array.of(probability, "<f4"),
        )

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


def _word(subject: Subject, text: str) -> Word:
    from engine.prompts.spellings import speller_of

    speller = speller_of(subject.loaded.model, subject.loaded.processor)
    if _ID.fullmatch(text) and int(text[1:]) < speller.vocabulary:
        return Word(text=speller.text_of(int(text[1:])), ids=(int(text[1:]),))
    found = speller.spelled(text)
    if not found.ids:
        raise BadInput(f"no token of this model begins {text!r}")
    return Word(text=text, ids=found.ids, several_tokens=found.several_tokens)


def _among_top(fill: GridFill, rows: Sequence[int], words: Sequence[Word]) -> Any:
    """Float32 [W, R, P]: the largest probability of a word's tokens, in a softmax over the best
    tokens of a cell only; 0 for a token that is not among them."""
    import torch

    found = []
    for row in rows:
        read = fill.rows[row]
        shares = read.logits.softmax(-1)  # [P, top]
        found.append(
            torch.stack(
                [(shares * torch.isin(read.ids, torch.tensor(word.ids))).amax(-1) for word in words]
            )
        )
    return torch.stack(found, 1).numpy()


def _proved(
    fill: GridFill,
    rows: Sequence[int],
    words: Sequence[Word],
    probability: Any | None,
    subject: Subject,
    stop: Stop,
) -> ReadingProof | None:
    """The grid's own proof, on which the words rest; and, at the run's position, the words' own
    columns of the head (if `probability` comes from them) against the whole vocabulary."""
    from engine.lens.grid import worse

    run, grid = subject.run, fill.proof
    if (
        grid is None
        or probability is None
        or run.position not in fill.streams.positions
        or subject.stream is None
        or not grid.passed
    ):
        return grid
    place = fill.streams.positions.index(run.position)
    shares = subject.everywhere.at_its_own(subject.kept, stop)
    worst = 0.0
    for index, word in enumerate(words):
        for number, row in enumerate(rows):
            whole = float(shares[row, list(word.ids)].sum())
            found = float(probability[index, number, place])
            if whole > _LEAST and found > _LEAST:
                worst = worse(worst, abs(math.log(found) - math.log(whole)))
            elif not (whole <= _LEAST * 2 and found <= _LEAST * 2):
                worst = math.inf
    return ReadingProof(
        what="log-probabilities from the words' own columns of the head against those from the "
        f"whole vocabulary, at the run's own position; and {grid.what}",
        error=finite(worst),
        # Two logits are subtracted, each of which may be off by as much as the grid's.
        tolerance=2 * grid.tolerance,
        passed=worst <= 2 * grid.tolerance,
    )


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
