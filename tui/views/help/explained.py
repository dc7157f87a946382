"""Which terms of the glossary explain what stands in a view."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import ClassVar, Final, Protocol, runtime_checkable

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
SCREENS: Final = {
    "words": ("patch", "logit lens", "p", "rank", "sink", "contrast", "row"),
    "attention": (
        "attention weight", "share", "sink", "nowhere", "reach", "knockout", "patch", "position",
    ),
    "answer": (
        "whole answer", "taken", "p", "rank", "entropy", "rms", "Jensen-Shannon divergence",
        "greedy decoding", "row",
    ),
    "parts": (
        "direct logit attribution", "share, sum, out", "promotes, suppresses", "ablation",
        "logits", "patch",
    ),
    "tracing": (
        "activation patching", "recovery", "clean, corrupt, site", "row", "logits",
        "counterfactual",
    ),
    "saliency": (
        "saliency", "integrated gradients", "insertion and deletion", "ins, del, random", "patch",
        "logits", "row",
    ),
    "neurons": (
        "neuron", "active", "share, sum, out", "promotes, suppresses", "ablation", "logits",
    ),
    "compare": (
        "row", "p", "rank", "points, part, for good", "formation row", "entropy", "KL divergence",
        "rms", "tracked token", "position", "nat", "top-k",
    ),
    "without": (
        "Jensen-Shannon divergence", "nat", "contrast", "debias", "counterfactual", "row", "p",
        "points, part, for good", "rank", "entropy", "KL divergence", "rms", "tracked token",
        "position", "top-k",
    ),
    "against": ("counterfactual", "p", "answer", "formation row"),
    "history": ("from, time, +", "p", "answer", "entropy", "formation row"),
    "sweep": ("verdict, truth", "from, time, +", "p", "answer", "entropy", "sweep"),
}  # fmt: skip
"""The terms of each screen, by the id of its view."""


@runtime_checkable
class IsExplained(Protocol):
    """A screen whose terms are listed here."""

    VIEW: ClassVar[str]
    """The id of its view."""


def terms_of(columns: Iterable[str], views: Iterable[str]) -> Collection[str]:
    """Return the terms that explain the table with these columns, and these views below it."""
    found = list(TABLE)
    for name in columns:
        found += COLUMNS.get(name, ())
    for view in views:
        found += VIEWS.get(view, ())
    return frozenset(found)
