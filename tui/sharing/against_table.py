"""What a picture adds, as lines: one for the picture, and one for everything in its stead."""

from __future__ import annotations

from collections.abc import Sequence

from engine.counterfactuals.grammar import label
from engine.records import Comparison, Run, Tracked
from tui.numbers import figure, number
from tui.show import display_text

_NAME = 24
_TOKEN = 16


def against_lines(runs: Sequence[Run], comparisons: Sequence[Comparison]) -> list[str]:
    """Return a heading, and a line a run: its answer, the picture's answer in it, and from which
    row the two have parted for good."""
    picture, *others = runs
    by_run = {comparison.against: comparison for comparison in comparisons}
    answer = picture.rows[-1].top[0]
    named = display_text(answer.text)
    heading = f"{'':<{_NAME}}{'answer':<{_TOKEN}} {'p':>5}  {'p of ' + named:>16}  JS  parts at row"
    lines = [heading.rstrip(), _line("the picture", picture, answer.id, None)]
    for run in others:
        counterfactual = run.question.counterfactual
        name = label(counterfactual) if counterfactual is not None else ""
        comparison = by_run.get(run.id)
        if comparison is not None and comparison.unavailable is not None:
            lines.append(f"{display_text(name, _NAME, spaces=False)}unavailable")
        else:
            lines.append(_line(name, run, answer.id, comparison))
    return lines


def says_the_prior(picture: Run, without: Run) -> bool | None:
    """Return whether the answer with the picture is the one without it; None where one of them has
    none."""
    rows = (picture.rows, without.rows)
    if not all(len(read) and read[-1].top for read in rows):
        return None
    return rows[0][-1].top[0].id == rows[1][-1].top[0].id


def _line(name: str, run: Run, answer: int, comparison: Comparison | None) -> str:
    if run.status != "done" or not run.rows[-1].top:
        return f"{display_text(name, _NAME, spaces=False)}{run.status}"
    top = run.rows[-1].top[0]
    same = _last(next((known for known in run.tracked if known.id == answer), None))
    line = (
        f"{display_text(name, _NAME, spaces=False)}{display_text(top.text, _TOKEN)} "
        f"{figure(top.probability)}  {'-' if same is None else figure(same):>16}"
    )
    if comparison is None or not comparison.rows:
        return line
    layer = "never" if comparison.layer is None else str(comparison.layer)
    return f"{line}  {number(comparison.rows[-1].js):<5} {layer}"


def _last(tracked: Tracked | None) -> float | None:
    return tracked.probability[-1] if tracked is not None and tracked.probability else None
