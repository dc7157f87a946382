"""What a picture adds, as lines: one for the picture, and one for each image replacement."""

from __future__ import annotations

from collections.abc import Sequence

from engine.counterfactuals.grammar import label
from engine.records import Comparison, Run, Token, Tracked
from tui.text.numbers import figure, number
from tui.text.show import display_text

_NAME = 18
_TOKEN = 16


def against_lines(
    runs: Sequence[Run], comparisons: Sequence[Comparison], *, ascii_only: bool = False
) -> list[str]:
    """Return a heading and a line per run: its answer, the probability of the picture's answer
    in it, and the row from which the two runs differ to the end."""
    picture, *others = runs
    by_run = {comparison.against: comparison for comparison in comparisons}
    answer = _top(picture)
    asked = "" if answer is None else f"p of {display_text(answer.text, ascii_only=ascii_only)}"
    heading = f"{'':<{_NAME}}{'answer':<{_TOKEN}} {'p':>5}  {asked:>14}  JS    parts at"

    def line(name: str, run: Run, comparison: Comparison | None) -> str:
        named = display_text(name, _NAME, spaces=False, ascii_only=ascii_only)
        if comparison is not None and comparison.unavailable is not None:
            return f"{named}unavailable"
        top = _top(run)
        if run.status != "done" or top is None:
            return f"{named}{run.status}"
        token = display_text(top.text, _TOKEN, ascii_only=ascii_only)
        same = _last(next((one for one in run.tracked if answer and one.id == answer.id), None))
        its = "-" if same is None else figure(same)
        whole = f"{named}{token} {figure(top.probability)}  {its:>14}"
        if comparison is None or not comparison.rows:
            return whole
        layer = "never" if comparison.layer is None else str(comparison.layer)
        return f"{whole}  {number(comparison.rows[-1].js):<5} {layer}"

    lines = [heading, line("the picture", picture, None)]
    for run in others:
        counterfactual = run.question.counterfactual
        name = label(counterfactual) if counterfactual is not None else ""
        lines.append(line(name, run, by_run.get(run.id)))
    return lines


def _top(run: Run) -> Token | None:
    return run.rows[-1].top[0] if run.rows and run.rows[-1].top else None


def _last(tracked: Tracked | None) -> float | None:
    return tracked.probability[-1] if tracked is not None and tracked.probability else None
