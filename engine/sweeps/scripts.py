"""In which script a token is written, as Unicode's property Script_Extensions has it."""

from __future__ import annotations

from collections import Counter
from functools import lru_cache

import regex

NO_LETTERS = "no letters"
BYTES = "bytes"
MIXED = "mixed"
OTHER = "other"

_SCRIPTS = {
    "Latin": ("Latin",),
    "Cyrillic": ("Cyrillic",),
    "Greek": ("Greek",),
    "Chinese": ("Han",),
    "Japanese": ("Hiragana", "Katakana"),
    "Korean": ("Hangul",),
    "Arabic": ("Arabic",),
    "Hebrew": ("Hebrew",),
    "Thai": ("Thai",),
    "Devanagari": ("Devanagari",),
    "Bengali": ("Bengali",),
    "Tamil": ("Tamil",),
    "Telugu": ("Telugu",),
    "Georgian": ("Georgian",),
    "Armenian": ("Armenian",),
}
"""What we call a script -> Unicode's names for it. Of a letter of several, the first counts."""
_LETTER = regex.compile(
    "|".join(
        f"(?P<{name}>" + "|".join(rf"\p{{Script_Extensions={script}}}" for script in scripts) + ")"
        for name, scripts in _SCRIPTS.items()
    )
)
_BYTE = regex.compile(r"(<0x[0-9A-Fa-f]{2}>|\\x[0-9A-Fa-f]{2})+")


@lru_cache(maxsize=2**17)
def script_of(text: str) -> str:
    """The script of a token's letters; "bytes" for a piece that is not a whole character,
    "no letters" for digits, marks and spaces, "mixed" for several scripts.

    Chinese characters next to kana are Japanese.
    """
    if _BYTE.fullmatch(text):
        return BYTES
    found = Counter(_script(letter) for letter in text if letter.isalpha())
    if not found:
        return NO_LETTERS
    if set(found) == {"Chinese", "Japanese"}:
        return "Japanese"
    return next(iter(found)) if len(found) == 1 else MIXED


def _script(letter: str) -> str:
    found = _LETTER.match(letter)
    return (found.lastgroup if found is not None else None) or OTHER
