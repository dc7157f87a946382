"""What a picture adds, a line for the picture and one for each image replacement; as text, too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from engine.counterfactuals.grammar import label
from engine.records import Comparison, Run, Token, Tracked
from tui.text.numbers import figure, number
from tui.text.show import display_text

NAME_WIDTH: Final = 18
TOKEN_WIDTH: Final = 16
SAME_WIDTH: Final = 14


@dataclass(frozen=True)
class AgainstLine:
    """What is said of the picture, or of what stands in its place."""

    name: str
    """Untrusted."""
    missing: str = ""
    """Why there is nothing else, in a word; empty where there is."""
    answer: Token | None = None
    same: float | None = None
    """The probability of the picture's answer."""
    is_compared: bool = False
    """Whether its rows have been compared with the picture's; the picture's own are not."""
    js: float | None = None
    """Jensen-Shannon divergence of the last rows, in nats; None if it is no number."""
    parts: int | None = None
    """The row from which the two differ to the end."""

    @property
    def parts_words(self) -> str:
        """From which row the two differ to the end; never, or nothing where there are no two."""
        if self.parts is None:
            return "never" if self.is_compared else ""
        return str(self.parts)


def against_rows(runs: Sequence[Run], comparisons: Sequence[Comparison]) -> list[AgainstLine]:
    """Return a line per run, the first of which is the picture's."""
    picture, *others = runs
    by_run = {comparison.against: comparison for comparison in comparisons}
    answer = _top(picture)
    lines = [_line("the picture", picture, None, answer)]
    for run in others:
        counterfactual = run.question.counterfactual
        name = label(counterfactual) if counterfactual is not None else ""
        lines.append(_line(name, run, by_run.get(run.id), answer))
    return lines


def same_heading(lines: Sequence[AgainstLine], *, ascii_only: bool) -> str:
    """Return the name of the column of the picture's answer, in at most `SAME_WIDTH` cells."""
    answer = lines[0].answer if lines else None
    if answer is None:
        return ""
    room = SAME_WIDTH - len("p of ")
    return "p of " + display_text(answer.text, room, ascii_only=ascii_only).rstrip()


def against_lines(
    runs: Sequence[Run], comparisons: Sequence[Comparison], *, ascii_only: bool = False
) -> list[str]:
    """Return a heading and a line per run: its answer, the probability of the picture's answer
    in it, and the row from which the two runs differ to the end."""
    lines = against_rows(runs, comparisons)
    same = same_heading(lines, ascii_only=ascii_only)
    heading = (
        f"{'':<{NAME_WIDTH}}{'answer':<{TOKEN_WIDTH}} {'p':>5}  {same:>{SAME_WIDTH}}  JS    "
        "parts at"
    )
    return [heading, *(_text(line, ascii_only) for line in lines)]


def _text(line: AgainstLine, ascii_only: bool) -> str:
    named = display_text(line.name, NAME_WIDTH, spaces=False, ascii_only=ascii_only)
    if line.missing or line.answer is None:
        return f"{named}{line.missing}"
    token = display_text(line.answer.text, TOKEN_WIDTH, ascii_only=ascii_only)
    its = "-" if line.same is None else figure(line.same)
    whole = f"{named}{token} {figure(line.answer.probability)}  {its:>{SAME_WIDTH}}"
    if not line.is_compared:
        return whole
    return f"{whole}  {number(line.js):<5} {line.parts_words}"


def _line(name: str, run: Run, comparison: Comparison | None, answer: Token | None) -> AgainstLine:
    if comparison is not None and comparison.unavailable is not None:
        return AgainstLine(name, "unavailable")
    top = _top(run)
    if run.status != "done" or top is None:
        return AgainstLine(name, run.status)
    same = _last(next((one for one in run.tracked if answer and one.id == answer.id), None))
    if comparison is None or not comparison.rows:
        return AgainstLine(name, answer=top, same=same)
    js = comparison.rows[-1].js
    return AgainstLine(name, "", top, same, True, js, comparison.layer)


def _top(run: Run) -> Token | None:
    return run.rows[-1].top[0] if run.rows and run.rows[-1].top else None


def _last(tracked: Tracked | None) -> float | None:
    return tracked.probability[-1] if tracked is not None and tracked.probability else None
