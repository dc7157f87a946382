"""Numbers of things in words, for every text about sweeps."""

from __future__ import annotations


def counted(number: int, noun: str) -> str:
    """`1 picture`, `1,200 pictures`."""
    return f"{number:,} {noun}{'s' * (number != 1)}"
