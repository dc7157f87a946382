"""In which script a token is written, from the names that Unicode gives its letters."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from functools import lru_cache

NO_LETTERS = "no letters"
BYTES = "bytes"
MIXED = "mixed"
OTHER = "other"

_NAMES = {
    "LATIN": "Latin",
    "CYRILLIC": "Cyrillic",
    "GREEK": "Greek",
    "CJK": "Chinese",
    "HIRAGANA": "Japanese",
    "KATAKANA": "Japanese",
    "HANGUL": "Korean",
    "ARABIC": "Arabic",
    "HEBREW": "Hebrew",
    "THAI": "Thai",
    "DEVANAGARI": "Devanagari",
    "BENGALI": "Bengali",
    "TAMIL": "Tamil",
    "TELUGU": "Telugu",
    "GEORGIAN": "Georgian",
    "ARMENIAN": "Armenian",
    "FULLWIDTH": "Latin",
}
_BYTE = re.compile(r"(<0x[0-9A-Fa-f]{2}>|\\x[0-9A-Fa-f]{2})+")


@lru_cache(maxsize=2**17)
def script_of(text: str) -> str:
    """The script of a token's letters; "bytes" for a piece that is no character by itself,
    "no letters" for figures, marks and spaces, "mixed" for several scripts.

    Chinese characters beside kana are Japanese.
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
    name = unicodedata.name(letter, "")
    return _NAMES.get(name.split(" ", 1)[0].split("-", 1)[0], OTHER)
