"""Results of comparisons in words; pure functions."""

from __future__ import annotations

from collections.abc import Sequence

from engine.records import Comparison, Token
from tui.state.comparing import AlignedRow, AlignedRuns
from tui.text.numbers import figure
from tui.text.show import display_text
from tui.views.compare.pair_columns import signed_figure


def where_they_part(compared: AlignedRuns) -> str:
    """Return from which row two runs differ, in words."""
    known = sum(row.same is not None for row in compared.rows)
    if not known:
        return "no row can be compared"
    whole = known == len(compared.rows)
    if compared.parts is None:
        return f"top-1 is the same in {'every row' if whole else 'all rows read in both'}"
    if compared.parts_for_good == compared.parts:
        return f"top-1 differs from row {compared.parts} on, for good"
    first = f"top-1 first differs in row {compared.parts}"
    if not whole:
        return f"{first}; later rows have not been read"
    if compared.parts_for_good is None:
        return f"{first}, but is the same at the end"
    return f"{first}, for good from row {compared.parts_for_good}"


def what_the_picture_adds(
    comparison: Comparison, with_it: Token | None, without: Token | None, *, ascii_only: bool
) -> str:
    """Return from which row the picture counts, and both answers, in words."""
    words = f"the picture counts from row {comparison.layer} on"
    if comparison.layer is None:
        words = "the picture never counts for good"
    words += f" (JS above {comparison.threshold:g} nats)"
    if with_it is None or without is None:
        return words
    prior = display_text(without.text, 12, ascii_only=ascii_only).strip()
    if with_it.id == without.id:
        return f"{words}; the prior says {prior}, and so does the picture"
    picture = display_text(with_it.text, 12, ascii_only=ascii_only).strip()
    return f"{words}; the prior says {prior}, the picture {picture}"


def how_matched(compared: AlignedRuns, layers: tuple[int, int]) -> str:
    """Return how rows and tokens are matched where the models differ; else nothing."""
    words = []
    if compared.by_depth:
        words.append(f"{layers[0]} and {layers[1]} layers: rows matched by depth")
    if compared.by_text:
        words.append("different models: tokens matched by text")
    return "; ".join(words)


def in_points(pair: AlignedRow | None, answers: Sequence[Token], *, ascii_only: bool) -> str:
    """Return what a row says of the answers: both probabilities, and the difference."""
    if pair is None:
        return ""
    parts = []
    for answer, change in zip(answers, pair.changes, strict=False):
        if change.left is None or change.right is None or change.difference is None:
            continue
        shown = display_text(answer.text, 12, ascii_only=ascii_only).rstrip()
        left, right = (figure(share).strip() for share in (change.left, change.right))
        points = signed_figure(change.difference).strip()
        parts.append(f"{shown} {left} and {right}, {points} points")
    return f"row {pair.left_layer}: {'; '.join(parts)}" if parts else ""
