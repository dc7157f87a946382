"""Lays out the layer detail in cells; pure, so that it can be tested without an app."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

from rich.style import Style

from engine.records import LayerReading, Token
from tui.text.bars import line_bar
from tui.text.numbers import figure, number
from tui.text.show import display_text
from tui.widgets.styles import Segments

_MOST_AT_ONCE: Final = 200
"""Most tokens in the detail, however large the pane is."""

_TWO_COLUMNS_FROM: Final = 64
_FULL_FROM_WIDTH: Final = 72
_FULL_FROM_HEIGHT: Final = 10
_LEAST_TOKEN, _MOST_TOKEN = 4, 20
_LEAST_BAR, _MOST_BAR = 4, 16
_PLACE: Final = 3
"""Cells of a token's place, unless it has more digits."""
_AROUND_BRIEF: Final = 23
"""Cells of a brief entry other than its token and bar."""
_AROUND_FULL: Final = 44
"""Cells of a full entry other than its token, raw text and bar."""
_LINES_OF_FULL: Final = 3
"""The figures of the row, the heading above the tokens, and the tokens that dropped out below."""


@dataclass(frozen=True)
class DetailLook:
    """The styles of the detail, from the theme."""

    text: Style
    faint: Style
    answer: Style


def capacity(width: int, height: int) -> int:
    """Return how many tokens fit into a pane of this size."""
    lines = max(height - (_LINES_OF_FULL if is_full(width, height) else 1), 0)
    return min(
        lines * (1 if is_full(width, height) else _brief_columns(width, height)), _MOST_AT_ONCE
    )


def detail_lines(
    reading: LayerReading,
    before: LayerReading | None,
    answer: int | None,
    size: tuple[int, int],
    look: DetailLook,
    *,
    first: int = 0,
    answer_name: str = "answer",
    ascii_only: bool,
) -> list[Segments]:
    """Return the lines for a row, given the row before it, the answer's id and the pane's size;
    `answer_name` is what the answer is called at this position, and `first` is how many of the top
    tokens are scrolled out above.

    A large pane shows all that is known of each token; a small one shows the essentials in two
    columns.
    """
    width, height = size
    top = reading.top[: first + capacity(width, height)]
    moves = _moves(top, before)
    entries = [
        (token, move, look.answer if token.id == answer else look.text)
        for token, move in zip(top[first:], moves[first:], strict=True)
    ]
    lines = [_summary(reading, answer_name, look, ascii_only)]
    if is_full(width, height):
        before_them = sum(token.probability for token in top[:first])
        lines += _full(entries, first, before_them, width, look, ascii_only)
        return [*lines, _left(top, before, look, ascii_only)]
    columns = _brief_columns(width, height)
    half = -(-len(entries) // columns)
    digits = _digits(first + len(entries))
    return lines + [
        [
            (
                _brief(first + place, digits, *entries[place][:2], width // columns, ascii_only),
                entries[place][2],
            )
            for place in range(index, len(entries), half)
        ]
        for index in range(half)
    ]


def is_full(width: int, height: int) -> bool:
    """Return whether every figure of a token fits."""
    return height >= _FULL_FROM_HEIGHT and width >= _FULL_FROM_WIDTH


def marks_at(width: int, height: int, last: int) -> list[range]:
    """Return the cells in which a line says how far its tokens have moved, in a pane of this size
    whose last token has the place `last`."""
    digits = _digits(last)
    start = digits + 1
    if is_full(width, height):
        return [range(start, start + 3)]
    columns = _brief_columns(width, height)
    token, bar = _brief_widths(width // columns, digits)
    entry = _AROUND_BRIEF - _PLACE + digits + token + bar
    return [range(at, at + 1) for at in range(start, start + columns * entry, entry)]


def _brief_columns(width: int, height: int) -> int:
    return 1 if height >= _FULL_FROM_HEIGHT or width < _TWO_COLUMNS_FROM else 2


def _summary(
    reading: LayerReading, answer_name: str, look: DetailLook, ascii_only: bool
) -> Segments:
    facts = [f" layer {reading.layer:<3}", f"entropy {number(reading.entropy):<6}"]
    if reading.kl_to_last is not None:
        facts.append(f"KL {number(reading.kl_to_last):<7}")
    facts.append(f"rms {number(reading.rms):<7}")
    if reading.answer is not None:
        facts.append(
            f"{answer_name} {figure(reading.answer.probability)} #{reading.answer.rank:<6}"
        )
    if reading.approximate:
        sign = "~" if ascii_only else "≈"
        facts.append(
            f"{sign} {display_text(reading.approximate, spaces=False, ascii_only=ascii_only)}"
        )
    return [("  ".join(facts), look.faint)]


def _digits(last: int) -> int:
    """Return the cells of the place of a token among `last` of them."""
    return max(len(str(last)), _PLACE)


def _brief_widths(width: int, digits: int) -> tuple[int, int]:
    """Return the cells of the token and of the bar of a brief entry in so many cells."""
    room = width - _AROUND_BRIEF - digits + _PLACE
    token = max(min(room - _LEAST_BAR, _MOST_TOKEN), _LEAST_TOKEN)
    return token, max(min(room - token, _MOST_BAR), 0)


def _brief(
    place: int, digits: int, token: Token, move: int | None, width: int, ascii_only: bool
) -> str:
    """Return one token in one style: each change of style costs forty bytes, and the detail must
    stay cheap to redraw."""
    token_width, bar_width = _brief_widths(width, digits)
    shown = display_text(token.text, token_width, ascii_only=ascii_only)
    bar = line_bar(token.probability, bar_width, ascii_only=ascii_only)
    sign = "*" if move is None else _move(move, ascii_only)[0]
    return f"{place + 1:>{digits}} {sign} {shown} {token.id:>7} {figure(token.probability)} {bar}  "


def _full(
    entries: Sequence[tuple[Token, int | None, Style]],
    first: int,
    total: float,
    width: int,
    look: DetailLook,
    ascii_only: bool,
) -> list[Segments]:
    """Return a heading and a line for each token with all that is known of it; `first` tokens
    stand above them, with the probability `total`."""
    digits = _digits(first + len(entries))
    room = width - _AROUND_FULL - digits + _PLACE
    token_width = max(min((room - _LEAST_BAR) // 2, _MOST_TOKEN), _LEAST_TOKEN)
    bar_width = max(min(room - 2 * token_width - 1, _MOST_BAR), 0)
    heading = (
        f"{'':>{digits + 1}}{'moved':<5} {'token':<{token_width}} {'raw':<{token_width}} {'id':>7} "
        f"{'p':>5} {'sum':>5} {'logit':>7}"
    )
    lines: list[Segments] = [[(heading[:width], look.faint)]]
    sums = accumulate((token.probability for token, _, _ in entries), initial=total)
    next(sums)
    for place, ((token, move, style), total) in enumerate(
        zip(entries, sums, strict=True), first + 1
    ):
        shown = display_text(token.text, token_width, ascii_only=ascii_only)
        raw = display_text(json.dumps(token.text), token_width, spaces=False, ascii_only=ascii_only)
        bar = line_bar(token.probability, bar_width, ascii_only=ascii_only)
        logit = "-" if token.logit is None else f"{token.logit:.2f}"
        text = (
            f"{place:>{digits}} {_move(move, ascii_only)} {shown} {raw} {token.id:>7} "
            f"{figure(token.probability)} {figure(total)} {logit:>7} {bar}"
        )
        lines.append([(text, style)])
    return lines


def _left(
    top: Sequence[Token], before: LayerReading | None, look: DetailLook, ascii_only: bool
) -> Segments:
    """Return the tokens of the row before that are no longer among the top tokens."""
    held = {token.id for token in top}
    left = [token for token in (before.top[: len(top)] if before else ()) if token.id not in held]
    if not left:
        return []
    shown = "  ".join(display_text(token.text, ascii_only=ascii_only) for token in left)
    return [(f"    left  {shown}", look.faint)]


def _move(move: int | None, ascii_only: bool) -> str:
    """Return, in five cells, how many places a token has moved since the row before."""
    if move is None:
        return "new  "
    if move == 0:
        return "     "
    up, down = ("+", "-") if ascii_only else ("▲", "▼")
    return f"{up if move > 0 else down}{min(abs(move), 9999):<4}"


def _moves(top: Sequence[Token], before: LayerReading | None) -> list[int | None]:
    """Return how many places each token has risen since the row before; None for tokens not among
    its known tokens.

    In the first row no token has moved; nor has any that may have ranked below the known tokens of
    the row before.
    """
    if before is None:
        return [0] * len(top)
    places = {token.id: place for place, token in enumerate(before.top)}
    missing = None if len(before.top) >= len(top) else 0
    return [
        places[token.id] - place if token.id in places else missing
        for place, token in enumerate(top)
    ]
