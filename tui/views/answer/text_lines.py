"""Breaks the text of an answer into lines, token by token; pure, so that it can be tested without
an app."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from rich.cells import cell_len

from tui.text.show import plain_line

END_MARK, END_MARK_ASCII = "∎", "[end]"
_BREAK, _BREAK_ASCII = "↵", "\\n"
_LEAST_WIDTH: Final = 8


@dataclass(frozen=True, slots=True)
class TextPiece:
    """What of a token stands on one line."""

    token: int
    text: str
    """Safe for display."""
    begins: bool
    """Whether the token begins here, and not before."""
    ends_line: bool = False

    @property
    def width(self) -> int:
        """In cells."""
        return cell_len(self.text)


TextLine = tuple[TextPiece, ...]


def text_lines(
    pieces: Sequence[str], width: int, *, ended: bool = False, ascii_only: bool
) -> tuple[TextLine, ...]:
    """Return the lines of an answer whose tokens add these pieces, each at most `width` cells wide.

    Lines are broken between words, and inside of a word that is longer than a line; a line break in
    the answer is marked. With `ended`, the last token is the end of the answer.
    """
    lines: list[list[TextPiece]] = [[]]
    width, used = max(width, _LEAST_WIDTH), 0
    for word in _words(_pieces(pieces, ended=ended, ascii_only=ascii_only)):
        if used and used + sum(piece.width for piece in word) > width:
            lines.append([])
            used = 0
        for piece in word:
            for part in _cut(piece, width, bare=not used):
                if used + part.width > width:
                    lines.append([])
                    used = 0
                lines[-1].append(part)
                used += part.width
        if word[-1].ends_line:
            lines.append([])
            used = 0
    return tuple(tuple(line) for line in lines)


def line_of(lines: Sequence[TextLine], token: int) -> int:
    """Return the line on which a token begins; 0 if there is none."""
    for index, line in enumerate(lines):
        if any(piece.token == token and piece.begins for piece in line):
            return index
    return 0


def _pieces(pieces: Sequence[str], *, ended: bool, ascii_only: bool) -> Iterator[TextPiece]:
    """Yield what stands between two line breaks of every token."""
    last = len(pieces) - 1
    mark = _BREAK_ASCII if ascii_only else _BREAK
    for token, piece in enumerate(pieces):
        if ended and token == last:
            yield TextPiece(token, f" {END_MARK_ASCII if ascii_only else END_MARK}", begins=True)
            continue
        *broken, rest = piece.split("\n")
        for index, part in enumerate(broken):
            shown = plain_line(part, ascii_only=ascii_only) + mark
            yield TextPiece(token, shown, begins=index == 0, ends_line=True)
        if rest or not broken:
            yield TextPiece(token, plain_line(rest, ascii_only=ascii_only), begins=not broken)


def _words(pieces: Iterator[TextPiece]) -> Iterator[list[TextPiece]]:
    """Yield the pieces of one word after the other: a word begins with a blank, or after a line
    break."""
    word: list[TextPiece] = []
    for piece in pieces:
        if word and (piece.text.startswith(" ") or word[-1].ends_line):
            yield word
            word = []
        word.append(piece)
    if word:
        yield word


def _cut(piece: TextPiece, width: int, *, bare: bool) -> Iterator[TextPiece]:
    """Yield a piece in parts of at most `width` cells; with `bare` without the blank before it."""
    text = piece.text.removeprefix(" ") if bare else piece.text
    begins = piece.begins
    while cell_len(text) > width:
        count = 0
        while cell_len(text[: count + 1]) <= width:
            count += 1
        yield TextPiece(piece.token, text[:count], begins)
        text, begins = text[count:], False
    yield TextPiece(piece.token, text, begins, piece.ends_line)
