"""Results of comparisons in words; pure functions."""

from __future__ import annotations

from engine.records import Comparison, Token
from tui.state.comparing import AlignedRuns
from tui.text.show import display_text


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
