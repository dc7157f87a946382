"""The user's choices about the table of layers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TableLook:
    """How rows are shown, for every run."""

    top_k: int = 3
    figures: tuple[str, ...] = ("entropy",)
    """Names of the optional columns."""
    folded: bool = False
    """Whether rows whose top-1 is that of the row before are folded into it."""
    find: str = ""
    """Tokens whose text contains this are marked."""
