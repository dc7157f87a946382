"""How byte-level BPE (GPT-2) writes the pieces of its vocabulary: one printable letter per byte."""

from __future__ import annotations

from functools import cache


def piece_of(text: str) -> str:
    """A text as such a vocabulary writes it. Raises UnicodeEncodeError for lone surrogates."""
    letters = _letters()
    return "".join(letters[byte] for byte in text.encode())


def bytes_of(piece: str) -> bytes | None:
    """The bytes that a piece stands for; None where it is not written in this way."""
    known = _bytes()
    if not all(letter in known for letter in piece):
        return None
    return bytes(known[letter] for letter in piece)


@cache
def _letters() -> dict[int, str]:
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    letters: dict[int, str] = bytes_to_unicode()
    return letters


@cache
def _bytes() -> dict[str, int]:
    return {letter: byte for byte, letter in _letters().items()}
