"""Which logit of which position is explained, and that in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from engine.records import Token
from tui.text.show import display_text

_MOST_TYPED: Final = 100
"""Characters of a typed word."""
_MOST_WORD: Final = 20
WITHOUT: Final = "none"
"""The counterfactual that is subtracted: the same prompt without a picture."""
KEYS: Final = "enter explains; dog, or dog,cat; empty: the answer"
"""What may be typed where the words are asked for."""
TOO_MANY: Final = "at most two words: the first one's logit minus the second one's"
STOPPED: Final = "stopped; what has been read stays"


@dataclass(frozen=True)
class Explained:
    """A logit, or the difference of two."""

    position: int
    """An index into the run's tokens."""
    of: tuple[str, ...] = ()
    """A word, or two; empty is the answer minus the runner-up."""
    against: str = ""
    """A run without the picture, whose logit is subtracted."""

    def at(self, position: int) -> Explained:
        """Return the same at another position."""
        return replace(self, position=position)

    def with_words(self, of: tuple[str, ...]) -> Explained:
        """Return the logit of other words."""
        return replace(self, of=of)

    def with_against(self, against: str) -> Explained:
        """Return the same, minus that in another run."""
        return replace(self, against=against)

    def in_words(self, of: Sequence[Token], *, ascii_only: bool) -> str:
        """Return what is explained, safe for display; its tokens are called as in `of` if they are
        known."""
        words = [_word(name, ascii_only) for name in [each.text for each in of] or self.of]
        if not words:
            words = ["the answer"] if self.against else ["the answer", "the runner-up"]
        what = f"logit of {' minus '.join(words)}"
        if self.against == WITHOUT:
            what += ", minus the same without the picture"
        elif self.against:
            against = display_text(self.against, _MOST_WORD, spaces=False, ascii_only=ascii_only)
            what += f", minus the same with {against.rstrip()}"
        return what


def typed_words(typed: str) -> tuple[str, ...]:
    """Return the words of a typed line, which commas separate."""
    words = (word.strip()[:_MOST_TYPED] for word in typed.split(","))
    return tuple(word for word in words if word)


def _word(text: str, ascii_only: bool) -> str:
    plain = text.removeprefix(" ") or text
    shown = display_text(plain, ascii_only=ascii_only)
    if len(shown) > _MOST_WORD:
        shown = display_text(plain, _MOST_WORD, ascii_only=ascii_only).rstrip()
    return f'"{shown}"'
