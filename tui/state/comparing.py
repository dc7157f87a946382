"""Two runs side by side: how their rows are aligned, and where they differ. Independent of
Textual."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath
from typing import Final

from engine.counterfactuals.grammar import label
from engine.records import LayerReading, Question, Token
from engine.stays import first_that_stays
from engine.tables import Place
from tui.state.columns import place_in
from tui.state.run_view import RunView

_FILE: Final = "picture's file"


@dataclass(frozen=True)
class Change:
    """One token's place in both runs; None where a run does not hold it."""

    left: float | None
    """Its probability in the left run."""
    right: float | None
    left_rank: int | None = None
    right_rank: int | None = None

    @property
    def difference(self) -> float | None:
        """The right run's probability minus the left run's; None where one is not known."""
        if self.left is None or self.right is None:
            return None
        return self.right - self.left


@dataclass(frozen=True)
class AlignedRow:
    """A row of the left run and the row of the right run with which it is compared."""

    left_layer: int
    right_layer: int
    left: LayerReading | None
    right: LayerReading | None
    same: bool | None
    """Whether both rows have the same top-1; None where one of them has none."""
    changes: tuple[Change, ...]
    """One change per token, in the order of `AlignedRuns.tokens`."""


@dataclass(frozen=True)
class AlignedRuns:
    """The comparison of two runs, row by row."""

    rows: tuple[AlignedRow, ...]
    answers: tuple[Token, ...]
    """The left run's answer, then the right run's if it differs."""
    tracked: tuple[Token, ...]
    """What the user tracks in either run, with its probability at the end of that run."""
    by_depth: bool
    """Whether rows are matched by relative depth, because the models differ in number of layers."""
    by_text: bool
    """Whether tokens are matched by text, because the models differ."""
    parts: int | None
    """The first row whose top-1 tokens differ; None where none does."""
    parts_for_good: int | None
    """The first row from which the top-1 tokens differ to the end; None where they do not."""

    @property
    def tokens(self) -> tuple[Token, ...]:
        """The tokens whose changes are known of every row: the answers, then what is tracked."""
        return (*self.answers, *self.tracked)


def align(left: RunView, right: RunView) -> AlignedRuns:
    """Return two runs aligned row by row.

    Where the numbers of layers differ, each row of the deeper model is compared with the row of the
    other at the same relative depth.
    """
    by_text = not of_one_model(left, right)
    answers = [run.answer for run in (left, right)]
    known: list[Token] = []
    for answer in answers:
        if answer is not None and not any(same_token(answer, had, by_text) for had in known):
            known.append(answer)
    tracked = _tracked((left, right), known, by_text)
    rows: list[AlignedRow] = []
    for one, other in _pairs(left.run.layers, right.run.layers):
        mine, theirs = _row(left, one), _row(right, other)
        same = None
        if mine is not None and theirs is not None and mine.top and theirs.top:
            same = same_token(mine.top[0], theirs.top[0], by_text)
        rows.append(
            AlignedRow(
                left_layer=one,
                right_layer=other,
                left=mine,
                right=theirs,
                same=same,
                changes=tuple(
                    _change(
                        known_place(left, one, token, by_text),
                        known_place(right, other, token, by_text),
                    )
                    for token in (*known, *tracked)
                ),
            )
        )
    return AlignedRuns(
        rows=tuple(rows),
        answers=tuple(known),
        tracked=tuple(tracked),
        by_depth=left.run.layers != right.run.layers,
        by_text=by_text,
        parts=next((index for index, row in enumerate(rows) if row.same is False), None),
        parts_for_good=first_that_stays([row.same is False for row in rows]),
    )


def of_one_model(left: RunView, right: RunView) -> bool:
    """Return whether two runs are known to be of the same model, whose tokens have the same ids."""
    return _model_name(left) == _model_name(right) != ""


def same_token(one: Token, other: Token, by_text: bool) -> bool:
    """Return whether two tokens are the same, by text or by id."""
    return one.text == other.text if by_text else one.id == other.id


def differences(left: Question, right: Question) -> list[tuple[str, str, str]]:
    """Return the differences between two questions: the setting's name, its left and its right
    value. A picture's file differs only where its content is known of both."""
    pairs = zip(_settings(left), _settings(right), strict=True)
    return [
        (name, one, other)
        for (name, one), (_, other) in pairs
        if one != other and not (name == _FILE and "-" in (one, other))
    ]


def _settings(question: Question) -> list[tuple[str, str]]:
    model, picture = question.model, question.picture
    counterfactual = question.counterfactual
    return [
        ("prompt", question.prompt),
        ("model", model.name if model else "-"),
        ("dtype", model.dtype if model else "-"),
        ("revision", (model.revision if model else None) or "-"),
        ("picture", _picture_name(question) if picture else "none"),
        (_FILE, (picture.sha256[:8] if picture else "") or "-"),
        ("image replacement", label(counterfactual) if counterfactual else "-"),
        ("norm", "on" if question.norm else "off"),
        ("asked", "as a chat" if question.chat else "raw"),
        ("system", question.system or "-"),
        ("prefix", question.prefix or "-"),
    ]


def _picture_name(question: Question) -> str:
    return PurePath(question.picture.path).name if question.picture else ""


def _model_name(run: RunView) -> str:
    model = run.run.question.model
    return model.name if model else ""


def _pairs(left: int, right: int) -> list[tuple[int, int]]:
    """Return the pairs of rows to compare; embedding and output are paired with each other."""
    deeper = max(left, right)
    if not deeper:
        return [(0, 0)]
    return [(_share(row, left, deeper), _share(row, right, deeper)) for row in range(deeper + 1)]


def _share(row: int, layers: int, deeper: int) -> int:
    return (2 * row * layers + deeper) // (2 * deeper)


def _row(run: RunView, layer: int) -> LayerReading | None:
    return run.rows[layer] if layer < len(run.rows) else None


def known_place(run: RunView, layer: int, token: Token, by_text: bool) -> Place | None:
    """Return a token's probability and rank in a row, from any place where the run holds it, or
    None."""
    row = _row(run, layer)
    if row is None:
        return None
    for rank, held in enumerate(run.deepened.get(layer, row).top, 1):
        if same_token(held, token, by_text):
            return Place(held.probability, rank)
    answer = run.answer
    if answer is not None and row.answer is not None and same_token(answer, token, by_text):
        return Place(row.answer.probability, row.answer.rank)
    for tracked in run.run.tracked:
        same = tracked.text == token.text if by_text else tracked.id == token.id
        if same:
            return place_in(tracked, layer)
    return None


def _change(left: Place | None, right: Place | None) -> Change:
    one, other = left or Place(None, None), right or Place(None, None)
    return Change(one.probability, other.probability, one.rank, other.rank)


def _tracked(sides: tuple[RunView, RunView], known: list[Token], by_text: bool) -> list[Token]:
    """Return the tokens that the user tracks in either run, without those that are known."""
    found: list[Token] = []
    for run in sides:
        for each in run.run.tracked:
            last = each.probability[-1] if each.probability else None
            token = Token(each.id, each.text, last or 0.0, None)
            had = any(same_token(token, other, by_text) for other in (*known, *found))
            if each.why == "user" and not had:
                found.append(token)
    return found
