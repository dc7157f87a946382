"""Which terms of the glossary explain what stands in a view."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

TABLE: Final = ("row", "emb, out, own", "marks of a row", "p", "top-k")
COLUMNS: Final = {
    "entropy": ("entropy", "nat"),
    "rms": ("rms",),
    "kl": ("KL divergence", "nat"),
    "answer": ("answer", "rank"),
    "tracked": ("tracked token", "rank"),
}
"""The terms of each optional column of the table."""
VIEWS: Final = {
    "detail": ("moved, left", "entropy", "KL divergence", "rms", "logits"),
    "plot": ("formation row", "tracked token"),
    "grid": ("grid", "heat", "position"),
}
"""The terms of each view in the lower slot."""


def terms_of(columns: Iterable[str], views: Iterable[str]) -> Collection[str]:
    """Return the terms that explain the table with these columns, and these views below it."""
    found = list(TABLE)
    for name in columns:
        found += COLUMNS.get(name, ())
    for view in views:
        found += VIEWS.get(view, ())
    return frozenset(found)
