"""Finding a token in the rows of a run."""

from __future__ import annotations

from collections.abc import Sequence

from engine.records import LayerReading, Token

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


def rows_with(rows: Sequence[LayerReading], wanted: str, top_k: int) -> list[int]:
    """Return the layers with a matching token among their first `top_k`."""
    return [row.layer for row in rows if any(matches(token, wanted) for token in row.top[:top_k])]


def next_row(found: Sequence[int], here: int, step: int) -> int | None:
    """Return the next (or previous) of the rows found, wrapping around at the end; None where
    none was found."""
    if not found:
        return None
    if step > 0:
        return next((row for row in found if row > here), found[0])
    return next((row for row in reversed(found) if row < here), found[-1])
