"""Positions of a run by name: the picture, the question, or numbers written out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from engine.errors import CannotRead
from engine.methods.everywhere import resolved
from engine.prompts.token_groups import picture_cells, picture_marks
from engine.records import Run

_SPAN: Final = r"(?:-?\d{1,9}|\d{1,9}-\d{1,9})"
_PLACES: Final = re.compile(rf"{_SPAN}(?:[,+]{_SPAN})*")
_BETWEEN: Final = re.compile(r"(\d{1,9})-(\d{1,9})")


def is_written_out(text: str) -> bool:
    """Whether a text is positions: "7", "-1", "12-20", or several with commas or plus signs."""
    return _PLACES.fullmatch(text) is not None


def written_out(run: Run, text: str) -> tuple[int, ...]:
    """Positions that are written out, ascending. Raises BadInput for one out of range."""
    places: list[int] = []
    for each in re.split("[,+]", text):
        between = _BETWEEN.fullmatch(each)
        if between is None:
            places.append(int(each))
            continue
        first, last = int(between[1]), int(between[2])
        resolved(run, (first, last))
        places += range(first, last + 1)
    return resolved(run, places)


def named_places(run: Run, position: int) -> dict[str, Sequence[int]]:
    """What positions can be named by, each with the positions, ascending: the picture's tokens; the
    marks around and between them; the tokens of the prompt as it was typed, but for `position`;
    the first token; `position` itself, the last that is of interest; everything up to it."""
    return {
        "picture": picture_cells(run.tokens),
        "marks": picture_marks(run.tokens),
        "question": [
            place
            for place, token in enumerate(run.tokens)
            if token.part == "prompt" and token.kind != "image" and place != position
        ],
        "first": [0],
        "last": [position],
        "all": range(position + 1),
    }


def check_length(run: Run, length: int) -> None:
    """Raise CannotRead unless a pass over a run has as many positions as the run has tokens."""
    if length != len(run.tokens):
        raise CannotRead(
            f"the model attends over {length} positions, and the run has {len(run.tokens)} tokens: "
            "which of them are which is not known"
        )
