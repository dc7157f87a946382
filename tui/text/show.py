"""The one place that decides how untrusted text (tokens, prompts, file names) looks on a terminal.

The output is always printable, has a known width and cannot control the terminal. It is for display
only and never stored.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from typing import NamedTuple

from rich.cells import cell_len

_VISIBLE = {" ": "␣", "\n": "↵", "\t": "⇥"}
_VISIBLE_ASCII = {" ": "_", "\n": "\\n", "\t": "\\t"}
_EMPTY = '""'

# Cc, Cf, Cs, Co, Cn: controls, bidi and zero-width marks, surrogates, private and unassigned code
# points. Zl, Zp, Zs: separators other than the plain space. Me, Mc: marks whose width terminals
# disagree about (rich says 0 for all of Mc, most terminals 1 for some).
_ESCAPED_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs", "Me", "Mc"})

# Code points that draw nothing or join their neighbours although their category does not say so.
_INVISIBLE = frozenset(
    {0x034F, 0x115F, 0x17B4, 0x17B5, 0x2800, 0x3164, 0xFFA0}
    | set(range(0x1160, 0x1200))  # Hangul jamo that merge with the one before
    | set(range(0xD7B0, 0xD800))
    | set(range(0x180B, 0x1810))  # variation selectors
    | set(range(0xFE00, 0xFE10))
    | set(range(0xE0100, 0xE01F0))
    | set(range(0x1F1E6, 0x1F200))  # regional indicators: two of them may become one flag
    | set(range(0x1F3FB, 0x1F400))  # skin tones: they merge with the emoji before
)

_CONTROL_PICTURES = {chr(code): chr(0x2400 + code) for code in range(0x20)} | {"\x7f": "␡"}

_MARKS_PER_LETTER = 2
"""More combining marks than this on one letter spill into the lines above and below."""


_MOST_CHARACTERS = 20_000
"""More of one text is never shown on a line, however wide: a session may hold a million."""
_CACHED_CHARACTERS = 256


class Piece(NamedTuple):
    """A piece of shown text that is never split."""

    text: str
    width: int
    """In terminal cells."""
    mark: bool
    """Whether the text represents something else: a visible space or an escape."""


def display_text(
    text: str, width: int | None = None, *, spaces: bool = True, ascii_only: bool = False
) -> str:
    """Return `text` made safe and visible for one line of a terminal.

    Spaces, newlines and tabs become visible marks; everything that could control the terminal or
    misalign a column becomes an escape such as `\\x1b`. With `width`, the result is exactly that
    many cells wide: cut with an ellipsis, or padded. With `spaces=False` (running text rather than
    a token) spaces stay, and newlines and tabs become spaces.
    """
    if width is not None:
        # A piece is at least a cell wide, and a letter with its marks.
        text = text[: (width + 1) * (1 + _MARKS_PER_LETTER)]
    pieces = show_pieces(text, spaces=spaces, ascii_only=ascii_only)
    if width is None:
        return "".join(piece.text for piece in pieces)
    return "".join(piece.text for piece in fit_pieces(pieces, width, ascii_only=ascii_only))


def whole_parts(text: str, width: int, joint: str = "; ", *, ascii_only: bool = False) -> str:
    """Return parts of a line, which a joint separates, made safe and in at most so many cells: as
    many as fit whole, with an ellipsis in place of the others. A first one that does not fit is
    cut; a number never is otherwise."""
    shown = plain_line(text, ascii_only=ascii_only)
    if cell_len(shown) <= width:
        return shown
    rest = joint + ("~" if ascii_only else "…")
    kept, *others = shown.split(joint)
    if cell_len(kept + rest) > width:
        return display_text(text, max(width, 0), spaces=False, ascii_only=ascii_only).rstrip()
    for part in others:
        if cell_len(kept + joint + part + rest) > width:
            break
        kept += joint + part
    return kept + rest


def plain_line(text: str, *, ascii_only: bool = False) -> str:
    """Return a message or a path made safe for one line; its spaces stay spaces."""
    return display_text(text, spaces=False, ascii_only=ascii_only)


def stand_in_text(text: str) -> str:
    """Return text of the same length for an editor, with visible substitutes for unsafe characters.

    Controls become their Unicode pictures, everything else U+FFFD; tabs stay.
    """
    shown: list[str] = []
    for index, char in enumerate(text):
        on_a_letter = _is_mark(char) and text[index - 1 : index].isalpha()
        if char in " \t" or on_a_letter or not (_is_unsafe(char) or cell_len(char) == 0):
            shown.append(char)
        else:
            shown.append(_CONTROL_PICTURES.get(char, "\ufffd"))
    return "".join(shown)


def show_pieces(text: str, *, spaces: bool = True, ascii_only: bool = False) -> tuple[Piece, ...]:
    """Return `text` as safe pieces; a letter and its combining marks are one piece."""
    if len(text) <= _CACHED_CHARACTERS:
        return _cached_pieces(text, spaces, ascii_only)
    if len(text) > _MOST_CHARACTERS:
        more = Piece("..." if ascii_only else "…", 3 if ascii_only else 1, True)
        return (*_pieces(text[:_MOST_CHARACTERS], spaces, ascii_only), more)
    return _pieces(text, spaces, ascii_only)


@lru_cache(maxsize=4096)
def _cached_pieces(text: str, spaces: bool, ascii_only: bool) -> tuple[Piece, ...]:
    return _pieces(text, spaces, ascii_only)


def _pieces(text: str, spaces: bool, ascii_only: bool) -> tuple[Piece, ...]:
    if not text:
        return (Piece(_EMPTY, len(_EMPTY), True),) if spaces else ()
    pieces: list[Piece] = []
    marks_left = 0
    for char in text:
        if marks_left and _is_mark(char) and not ascii_only:
            letter = pieces[-1]
            if cell_len(letter.text + char) == letter.width:
                pieces[-1] = letter._replace(text=letter.text + char)
                marks_left -= 1
                continue
        piece = _piece(char, spaces, ascii_only)
        takes_marks = not piece.mark and char.isalpha()
        marks_left = _MARKS_PER_LETTER if takes_marks else 0
        pieces.append(piece)
    return tuple(pieces)


def fit_pieces(
    pieces: tuple[Piece, ...], width: int, *, ascii_only: bool = False
) -> tuple[Piece, ...]:
    """Return the pieces cut or padded to exactly `width` cells."""
    total = sum(piece.width for piece in pieces)
    if total <= width:
        return (*pieces, _padding(width - total)) if total < width else pieces
    if width <= 0:
        return ()
    kept: list[Piece] = []
    room = width - 1
    for piece in pieces:
        if piece.width > room:
            break
        kept.append(piece)
        room -= piece.width
    kept.append(Piece("~" if ascii_only else "…", 1, True))
    return (*kept, _padding(room)) if room else tuple(kept)


def _piece(char: str, spaces: bool, ascii_only: bool) -> Piece:
    if char in _VISIBLE:
        if not spaces:
            return Piece(" ", 1, False)
        shown = (_VISIBLE_ASCII if ascii_only else _VISIBLE)[char]
        return Piece(shown, len(shown), True)
    width = cell_len(char)
    if width == 0 or _is_unsafe(char) or (ascii_only and not char.isascii()):
        escape = _escape(char)
        return Piece(escape, len(escape), True)
    return Piece(char, width, False)


def _is_mark(char: str) -> bool:
    return unicodedata.category(char) == "Mn" and ord(char) not in _INVISIBLE


def _is_unsafe(char: str) -> bool:
    category = unicodedata.category(char)
    return category in _ESCAPED_CATEGORIES or category == "Mn" or ord(char) in _INVISIBLE


def _escape(char: str) -> str:
    code = ord(char)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _padding(width: int) -> Piece:
    return Piece(" " * width, width, False)
