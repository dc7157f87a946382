"""Where a layer detail says what stands for something."""

from __future__ import annotations

from collections.abc import Iterator

from tui.views.detail.detail_rows import capacity, is_full, marks_at
from tui.widgets.explaining import Caption, Kind


def detail_captions(
    size: tuple[int, int], held: int, first: int, *, start: int = 0, stop: int | None = None
) -> Iterator[Caption]:
    """Yield the line with the figures of the row, the names of the columns where there are any, the
    line of the tokens that dropped out, and how far the others moved.

    The detail has a `size` in cells, and begins in cell `start` of its widget; `stop` is where
    another one begins. It shows a row of which so many tokens are `held`, the `first` of which are
    scrolled out above.
    """
    width, height = size
    full = is_full(width, height)
    yield Caption(0, start, stop, kind=Kind.WORDS)
    if full:
        yield Caption(1, start, stop)
        yield Caption(height - 1, start, stop, kind=Kind.WORDS)
    marks = marks_at(width, height, min(first + capacity(width, height), held))
    for line in range(1 + full, height - full):
        for at in marks:
            yield Caption(line, start + at.start, start + at.stop, kind=Kind.MARKS, marks="moves")
