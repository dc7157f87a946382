"""What a run can be traced against: what keeps every token in its place. Without Textual."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from engine.counterfactuals.grammar import FORMS, MEANINGS, parse_against, written
from engine.errors import BadInput
from tui.state.run_view import Phase, RunView
from tui.widgets.chooser import Choice

_MOVES: Final = ("none", "unk")
"""With these the prompt has fewer tokens."""


def choices_of(run: RunView, runs: Sequence[RunView]) -> list[Choice]:
    """Return the counterfactuals, and the other runs of the same prompt."""
    found = [
        Choice(name, FORMS.get(name, name), meaning, "instead of the picture")
        for name, meaning in MEANINGS.items()
        if name not in _MOVES
    ]
    mine = run.run.question
    for number, other in enumerate(runs, 1):
        its = other.run.question
        same = (its.prompt, its.system, its.prefix, its.chat) == (
            mine.prompt, mine.system, mine.prefix, mine.chat,
        )  # fmt: skip
        if other.run.id == run.run.id or not same or other.phase is not Phase.DONE:
            continue
        if its.counterfactual is not None:
            continue  # it is among those above
        file = "" if its.picture is None else its.picture.path.rsplit("/", 1)[-1]
        count, own = len(other.run.tokens), len(run.run.tokens)
        detail = file if count == own else f"{file}: {count} tokens, this run has {own}"
        found.append(Choice(other.run.id, f"run {number}", detail, "another run"))
    return found


def name_of(run: RunView, seed: int) -> str:
    """Return how a request names the run of a counterfactual: as that is written, so that it may be
    asked again; by its id if a run with this seed would be another one."""
    counterfactual = run.run.question.counterfactual
    if counterfactual is None or counterfactual.seed not in (None, seed):
        return run.run.id
    return written(counterfactual) or run.run.id


def against_of(chosen: str, runs: Sequence[RunView], seed: int) -> str:
    """Return what was chosen or typed as a request has it: the id of a run, or a counterfactual.

    Raises BadInput, naming what is wrong.
    """
    if any(chosen == other.run.id for other in runs):
        return chosen
    found = parse_against(chosen, seed)
    if len(found) > 1:
        raise BadInput("a run is traced against one other: choose one counterfactual")
    return written(found[0]) or chosen
