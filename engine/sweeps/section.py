"""A section of a report: words and tables that do not determine how they look."""

from __future__ import annotations

from dataclasses import dataclass

from engine.tables import Table


@dataclass(frozen=True)
class Section:
    """One question and its answer."""

    title: str
    words: str
    tables: tuple[Table, ...] = ()
    figure: str | None = None
    """The name of the figure that belongs to it."""
    notes: tuple[str, ...] = ()
