"""Numbers of things in words, and long texts cut, for every text about sweeps."""

from __future__ import annotations

import hashlib

LONGEST_SHOWN = 300
"""Characters of a text in tables and lists."""


def counted(number: int, noun: str) -> str:
    """`1 picture`, `1,200 pictures`."""
    return f"{number:,} {noun}{'s' * (number != 1)}"


def shortened(text: str) -> str:
    """A text as it is shown; long ones are cut, and two different ones stay different."""
    if len(text) <= LONGEST_SHOWN:
        return text
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{text[: LONGEST_SHOWN - 30]}... ({len(text):,}, {digest})"
