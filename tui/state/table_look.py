"""The user's choices about the table of layers."""

from __future__ import annotations

from dataclasses import dataclass

from tui.state.folding import Fold


@dataclass(frozen=True)
class TableLook:
    """How rows are shown, for every run."""

    top_k: int = 3
    figures: tuple[str, ...] = ("entropy",)
    """Names of the optional columns."""
    fold: Fold = Fold.NONE
    """Which rows are folded into the one before."""
    find: str = ""
    """Tokens whose text contains this are marked."""
