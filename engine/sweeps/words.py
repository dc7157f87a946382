"""Numbers of things in words, the same wherever a sweep is spoken of."""

from __future__ import annotations


def counted(number: int, noun: str) -> str:
    """`1 picture`, `1,200 pictures`."""
    return f"{number:,} {noun}{'s' * (number != 1)}"
