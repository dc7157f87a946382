"""What the user has chosen about the table of layers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TableLook:
    """How rows are shown, whatever the run."""

    top_k: int = 3
    figures: tuple[str, ...] = ("entropy",)
    """Columns by choice."""
    find: str = ""
    """Tokens whose text holds this are marked."""
