"""The line numbers of the keys in a TOML text, which the standard parser does not report."""

from __future__ import annotations

import re
import tomllib
from typing import Final

KeyPath = tuple[str, ...]

_TOKEN: Final = re.compile(
    r'''(?P<quote>"""(?:\\.|[^\\])*?"{3,5}|\'\'\'.*?\'{3,5}|"(?:\\.|[^"\\\n])*"|'[^'\n]*')'''
    r"""|(?P<skip>\#[^\n]*|[ \t\r]+)|(?P<mark>[\n\[\]{}=,.])|(?P<bare>[^\s"'\#\[\]{}=,.]+)""",
    re.DOTALL,
)


def key_lines(text: str) -> dict[KeyPath, int]:
    """Return the line on which each key and table is first named, such as ("keys", "run") -> 3.

    The text must be one that the standard parser accepts. Tables in a list share the list's name.
    """
    lines: dict[KeyPath, int] = {}
    table: KeyPath = ()
    inside: KeyPath = ()
    """The table to which the next key belongs."""
    parts: list[str] = []
    """The parts of the key that is being read."""
    value_of: KeyPath = ()
    open_brackets: list[tuple[str, KeyPath]] = []
    reads_key, in_header = True, False
    line = 1
    for token in _TOKEN.finditer(text):
        word, kind = token.group(), token.lastgroup
        if kind in ("quote", "bare") and reads_key:
            parts.append(_name(word))
        elif word == "\n" and not open_brackets:
            if in_header:
                table = tuple(parts)
                _note(lines, table, line)
            inside, parts, reads_key, in_header = table, [], True, False
        elif word == "[" and reads_key and not open_brackets:
            in_header, inside = True, ()
        elif word == "=" and reads_key:
            value_of, parts, reads_key = (*inside, *parts), [], False
            _note(lines, value_of, line)
        elif word in ("[", "{"):
            open_brackets.append((word, value_of))
            if word == "{":
                inside, reads_key = value_of, True
        elif word in ("]", "}") and open_brackets:
            _, value_of = open_brackets.pop()
            reads_key = False
        elif word == "," and open_brackets and open_brackets[-1][0] == "{":
            inside, reads_key = open_brackets[-1][1], True
        line += word.count("\n")
    if in_header:
        _note(lines, tuple(parts), line)
    return lines


def _note(lines: dict[KeyPath, int], path: KeyPath, line: int) -> None:
    """Note a key's line; a dotted key also names the tables that contain it."""
    for length in range(1, len(path) + 1):
        lines.setdefault(path[:length], line)


def _name(word: str) -> str:
    if word[0] not in "\"'":
        return word
    return str(tomllib.loads(f"name = {word}")["name"])
