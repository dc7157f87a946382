"""The sites of a tracing: how they are written in a request, and what they are called. Without
Textual."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Final

import numpy as np

from engine.methods.tracing import NAMES
from engine.records import PromptToken
from tui.state.patches import Patches
from tui.text.show import display_text

MOST_WRITTEN: Final = 1000
"""Characters of a site in a request."""
_MOST_TOKEN: Final = 16
_PHRASES: Final = {
    "picture": "the picture's tokens",
    "question": "the question's tokens",
    "last": "the last token",
    "features": "what the picture adds between layers",
    "all": "all tokens",
}
_ONE: Final = ("last", "features")
"""Those of the names that are one thing."""


def written(positions: Sequence[int]) -> str:
    """Return positions as a site is written: "3,12-20"."""
    spans = []
    for _, group in groupby(enumerate(sorted(set(positions))), lambda pair: pair[1] - pair[0]):
        members = [position for _, position in group]
        spans.append(f"{members[0]}-{members[-1]}" if len(members) > 1 else f"{members[0]}")
    return ",".join(spans)


def box_of(patches: Patches, corner: int, other: int) -> tuple[int, ...]:
    """Return the patches of a sheet whose middles lie in the box that two of its patches span."""
    sheet = patches.sheets[patches.sheet_of(corner)]
    if corner == other or corner not in sheet or other not in sheet:
        return (other,)
    low = np.minimum(patches.boxes[corner, :2], patches.boxes[other, :2])
    high = np.maximum(patches.boxes[corner, 2:], patches.boxes[other, 2:])
    middles = (patches.boxes[sheet, :2] + patches.boxes[sheet, 2:]) / 2
    inside = ((middles > low) & (middles < high)).all(axis=1)
    return tuple(int(each) for each in sheet[inside])


class SiteNames:
    """Calls the sites of one run by what stands there; every name is safe for display."""

    def __init__(
        self, tokens: Sequence[PromptToken], patches: Patches, *, ascii_only: bool
    ) -> None:
        self._tokens, self._patches, self._ascii = tokens, patches, ascii_only

    def short(self, site: str, positions: Sequence[int]) -> str:
        """Return the name for the head of a column: "picture", "box 3,4-6,7", "␣red"."""
        if site in NAMES or not positions:
            return self._safe(site)
        box = self._box(positions)
        if box:
            return box
        if len(positions) == 1 and positions[0] < len(self._tokens):
            return self._token(positions[0])
        return self._safe(f"at {site}")

    def phrase(self, site: str, positions: Sequence[int]) -> tuple[str, bool]:
        """Return the name for a sentence, and whether it is plural."""
        if site in _PHRASES:
            return _PHRASES[site], site not in _ONE
        box = self._box(positions)
        if box:
            several = len(positions) > 1
            return (f"the patches {box.removeprefix('box ')}" if several else box), several
        if len(positions) == 1 and positions[0] < len(self._tokens):
            return f"the token {self._token(positions[0])} at {positions[0]}", False
        return self._safe(f"the tokens at {site}"), True

    def _box(self, positions: Sequence[int]) -> str:
        """Return the name of a box of patches of one tile; empty for anything else."""
        found = [self._patches.at(position) for position in positions]
        patches = [patch for patch in found if patch is not None]
        if not patches or len(patches) < len(found):
            return ""
        if len(patches) == 1:
            return self._safe(self._patches.short_name(patches[0]))
        rows = [self._patches.rows[patch] for patch in patches]
        columns = [self._patches.columns[patch] for patch in patches]
        tiles = {self._patches.tiles[patch] for patch in patches}
        wide, high = max(columns) - min(columns) + 1, max(rows) - min(rows) + 1
        if min(rows + columns) < 0 or len(tiles) > 1 or wide * high != len(patches):
            return ""
        first = f"{min(columns) + 1},{min(rows) + 1}"
        return f"box {first}-{max(columns) + 1},{max(rows) + 1}"

    def _token(self, position: int) -> str:
        text = self._tokens[position].text
        shown = display_text(text, ascii_only=self._ascii)
        if len(shown) > _MOST_TOKEN:
            shown = display_text(text, _MOST_TOKEN, ascii_only=self._ascii).rstrip()
        return shown

    def _safe(self, words: str) -> str:
        return display_text(words, spaces=False, ascii_only=self._ascii)
