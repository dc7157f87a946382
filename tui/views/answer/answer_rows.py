"""Lays out the head above the columns of an answer; its rows are those of the grid. Pure, so that
it can be tested without an app."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tui.state.answer_steps import AnswerSteps
from tui.state.prompt_spans import Span, Spans
from tui.text.show import display_text
from tui.views.grid.grid_rows import CELL, CURSOR, CURSOR_ASCII, GridFacts
from tui.widgets.styles import GUTTER, Segments, Styles

HEAD: Final = 3
"""Lines of the head: the tokens' numbers, their texts, and their formation rows."""
END: Final = "end"
"""What the token is called with which the model ended the answer."""
NOT_BEST: Final = "not best"
"""Instead of a formation row, where sampling or a setting has taken another token than row L's
best."""
_NAMES: Final = ("#", "tok", "row")


@dataclass(frozen=True)
class AnswerFacts(GridFacts):
    """The grid's facts, with a column for every token of an answer."""

    answers: tuple[int, ...] = ()
    """The token that each step took; it is drawn in the answer's colour in its column."""

    def answer_at(self, position: int) -> int | None:
        """See `GridFacts.answer_at`."""
        return self.answers[position] if position < len(self.answers) else None


def columns_of(count: int) -> Spans:
    """Return a column for each of so many steps."""
    return Spans(tuple(Span(at, at, "answer") for at in range(count)), tuple(range(count)))


def head_segments(
    facts: GridFacts, steps: AnswerSteps, line: int, styles: Styles, *, ascii_only: bool
) -> Segments:
    """Return a line of the head."""
    segments: Segments = [(" " * GUTTER + _NAMES[line].rjust(3) + " ", styles.faint)]
    for span in facts.visible:
        step = span.first
        here = step == facts.place
        mark = (CURSOR_ASCII if ascii_only else CURSOR) if here else " "
        segments.append((mark, styles.cursor))
        if line == 0:
            segments.append((str(step).ljust(CELL), styles.text if here else styles.faint))
        elif line == 1:
            text = steps.token_text(step)
            if steps.is_end(step):
                segments.append((END.ljust(CELL), styles.faint))
            else:
                segments.append((display_text(text, CELL, ascii_only=ascii_only), styles.answer))
        else:
            row = steps.formation(step)
            words = NOT_BEST if row is None else f"from {row}"
            segments.append((words.ljust(CELL), styles.faint))
    return segments
