"""Where words are readable: their probability in every row at every position."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, Literal

from msgspec import Meta, Struct

from engine.arrays import Array, check_shape
from engine.errors import BadInput
from engine.methods.everywhere import stepping
from engine.methods.grid import Positions, Rows, check_rows, misfit, ordered_rows
from engine.methods.method import Method, Stop, Subject
from engine.records import NonNegative, Part, Reading, ReadingProof, Request, Run, Short
from engine.tables import Column, Table

if TYPE_CHECKING:
    from engine.lens.grid import GridFill

MOST_WORDS: Final = 50
VL_INTERP_TOP: Final = 50
AS_THEIRS: Final = (
    "computed as vl-interp does, for comparison: without the final norm, over the 50 largest "
    "logits only; the lens's own figures are others"
)
NOT_AT_ITS_OWN: Final = "nothing to compare with: the run's own position is not among these"
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
        run, loaded = subject.run, subject.loaded
        words = tuple(_word(subject, text) for text in request.words)
        rows = ordered_rows(request.rows, run.layers)
        as_theirs = request.way == "vl-interp"
        fill = subject.everywhere.fill(
            loaded.lens,
            run,
            subject.inputs,
            request.positions,
            top=VL_INTERP_TOP if as_theirs else 1,
            norm=not as_theirs,
        )
        for _ in stepping(fill.fill(rows), stop):
            yield WordsPart(sum(row in fill.rows for row in rows), len(rows))
        probability = (_among_top if as_theirs else _summed)(fill, rows, words)
        proof = None if as_theirs else _proved(fill, rows, words, probability, subject, stop)
        yield WordsReading(
            request=request,
            proof=proof,
            reason=AS_THEIRS if as_theirs else "" if proof is not None else NOT_AT_ITS_OWN,
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


def _summed(fill: GridFill, rows: Sequence[int], words: Sequence[Word]) -> Any:
    import numpy as np

    from engine.lens.grid import probability_of

    return np.stack([probability_of(fill, rows, word.ids).numpy() for word in words])


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
    probability: Any,
    subject: Subject,
    stop: Stop,
) -> ReadingProof | None:
    """The words' own columns against the whole vocabulary, in every row at the run's position."""
    run = subject.run
    if run.position not in fill.streams.positions or subject.stream is None:
        return None
    place = fill.streams.positions.index(run.position)
    ids = tuple(dict.fromkeys(token for word in words for token in word.ids))
    tracked = {each.id: each.probability for each in subject.kept.track(ids, stop)}
    worst = 0.0
    for index, word in enumerate(words):
        for number, row in enumerate(rows):
            whole = sum(tracked[token][row] or 0.0 for token in word.ids)
            worst = max(worst, abs(float(probability[index, number, place]) - whole))
    limit = fill.proof.tolerance if fill.proof is not None else 0.0
    return ReadingProof(
        what="probabilities from the words' own columns of the head against those from the whole "
        "vocabulary, at the run's own position",
        error=worst,
        tolerance=limit,
        passed=worst <= limit,
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
