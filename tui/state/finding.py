"""Finding a token in the rows of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from engine.records import LayerReading, Token
from tui.state.comparing import AlignedRuns
from tui.state.run_view import RunView
from tui.text.numbers import figure

_MOST_DIGITS = 18
"""No token's id has more; `int` refuses thousands."""


def matches(token: Token, wanted: str) -> bool:
    """Return whether a token's text contains what is searched for, ignoring case.

    A number preceded by # is a token's id.
    """
    if wanted.startswith("#") and wanted[1:].isdecimal():
        digits = wanted[1:]
        return len(digits) <= _MOST_DIGITS and token.id == int(digits)
    return bool(wanted) and wanted.casefold() in token.text.casefold()


@dataclass(frozen=True)
class Found:
    """The best token of a row that matches."""

    layer: int
    rank: int
    token: Token


@dataclass(frozen=True)
class Hit:
    """A row of what is searched, and what has been found there, safe for display."""

    row: int
    words: str


@dataclass(frozen=True)
class PairFound:
    """The best tokens that match in a row of two runs; at least one of them has one."""

    row: int
    """The row of the comparison."""
    left: Found | None
    right: Found | None


def found_in(run: RunView, wanted: str) -> list[Found]:
    """Return, of every row of a run with a matching token among all tokens that are known of it,
    the best one."""
    rows = [run.reading(row.layer) or row for row in run.rows]
    firsts = (_first_in(row, wanted) for row in rows)
    return [found for found in firsts if found is not None]


def found_in_both(
    sides: tuple[RunView, RunView], compared: AlignedRuns, wanted: str
) -> list[PairFound]:
    """Return every row of a comparison with a matching token among all that is known of it on
    either side."""
    left, right = ({found.layer: found for found in found_in(run, wanted)} for run in sides)
    pairs = [
        PairFound(index, left.get(row.left_layer), right.get(row.right_layer))
        for index, row in enumerate(compared.rows)
    ]
    return [pair for pair in pairs if pair.left is not None or pair.right is not None]


def found_words(found: Found, where: str) -> str:
    """Return where a token has been found: the row or the side, then the rank."""
    return f"{where} rank {found.rank}, {figure(found.token.probability).strip()}"


def _first_in(row: LayerReading, wanted: str) -> Found | None:
    for rank, token in enumerate(row.top, 1):
        if matches(token, wanted):
            return Found(row.layer, rank, token)
    return None


def next_row(found: Sequence[int], here: int, step: int) -> int | None:
    """Return the next (or previous) of the rows found, wrapping around at the end; None where
    none was found."""
    if not found:
        return None
    if step > 0:
        return next((row for row in found if row > here), found[0])
    return next((row for row in reversed(found) if row < here), found[-1])
