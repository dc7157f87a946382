"""Shares as one stacked bar: a colour and a letter for each group of tokens. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from rich.style import Style

from tui.text.show import display_text
from tui.widgets.styles import Segments, Styles

NOWHERE: Final = "nowhere"
"""What the weight on learned sinks is called, which lies on no token."""
_NAMES: Final = {"first": "First token", "answer": "Answer so far"}
_HUES: Final = {"template": 2, "system": 5, "picture": 1, "question": 0, "first": 7}
"""Group -> its colour among those that tell tokens apart; the answer is golden everywhere."""
_OTHERS: Final = (3, 4, 6)
_NARROWEST_NAMED: Final = 2
"""Cells of a part of a bar that has room for its letter and a blank."""


@dataclass(frozen=True)
class GroupLook:
    """How a group of tokens is drawn."""

    letter: str
    name: str
    """It begins with the letter; safe for display."""
    word: Style
    """Of the name and of letters on the screen's own background."""
    block: Style
    """Of its part of a bar."""


def group_looks(groups: Sequence[str], styles: Styles, *, ascii_only: bool) -> list[GroupLook]:
    """Return the looks of these groups, and of nowhere last. Names come from a file: they are made
    safe, and letters are told apart where two begin alike."""
    looks: list[GroupLook] = []
    taken: set[str] = set()
    for index, group in enumerate((*groups, NOWHERE)):
        plain = display_text(_NAMES.get(group, group), spaces=False, ascii_only=ascii_only)
        letter = plain[:1].upper() if plain[:1].isascii() and plain[:1].isalpha() else "?"
        if letter in taken:
            letter = next((chr(each) for each in range(65, 91) if chr(each) not in taken), "?")
        taken.add(letter)
        word, bar = _styles_of(group, index, styles)
        block = Style(bgcolor=bar.color, color=styles.text.color)
        looks.append(GroupLook(letter, letter + plain[1:], word, block))
    return looks


def _styles_of(group: str, index: int, styles: Styles) -> tuple[Style, Style]:
    if group == "answer":
        return styles.answer, styles.answer_bar
    if group == NOWHERE:
        return styles.faint, styles.faint
    return styles.of_hue(_HUES.get(group, _OTHERS[index % len(_OTHERS)]))


def cells_of(shares: npt.NDArray[np.float32], width: int) -> list[int]:
    """Return how many of `width` cells each share takes; the largest remainders are rounded up, so
    that shares that sum to 1 fill the bar. Shares that are not numbers take none."""
    known = np.clip(np.nan_to_num(shares.astype(np.float64)), 0, 1)
    total = float(known.sum())
    if total <= 0 or width <= 0:
        return [0] * len(known)
    exact = known / max(total, 1.0) * width
    cells = np.floor(exact + 1e-9).astype(int)
    left = round(float(exact.sum())) - int(cells.sum())
    for index in np.argsort(-(exact - cells), kind="stable")[: max(left, 0)]:
        cells[index] += 1
    return [int(each) for each in cells]


def stacked_bar(
    shares: npt.NDArray[np.float32] | None,
    width: int,
    looks: Sequence[GroupLook],
    blank: Style,
    *,
    letters: bool,
) -> Segments:
    """Return a bar of exactly `width` cells. With `letters` it is filled with the letters of the
    groups; else a colour fills it, and the letter stands where there is room."""
    if shares is None:
        return [(" " * width, blank)]
    segments: Segments = []
    used = 0
    for count, look in zip(cells_of(shares, width), looks, strict=False):
        if not count:
            continue
        if letters:
            segments.append((look.letter * count, look.word))
        else:
            text = look.letter if count >= _NARROWEST_NAMED else ""
            segments.append((text.ljust(count), look.block))
        used += count
    segments.append((" " * (width - used), blank))
    return segments
