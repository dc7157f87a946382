"""What the tokens of a run count as, for methods that sum over kinds of tokens."""

from __future__ import annotations

from typing import Final, Literal, get_args

from engine.records import PromptToken, Run

Group = Literal["first", "template", "system", "picture", "question", "answer"]
GROUPS: Final[tuple[Group, ...]] = get_args(Group)
"""The first token of the sequence; the chat template, with the marks around a picture; the system
turn; the picture; what was asked; what has been answered so far, beginning with a given prefix."""

_OF_PART: Final[dict[str, Group]] = {
    "template": "template",
    "system": "system",
    "picture": "template",
    "prompt": "question",
    "prefix": "answer",
}


def groups_of(run: Run) -> tuple[Group, ...]:
    """The group of every token."""
    return tuple(_group(place, token) for place, token in enumerate(run.tokens))


def _group(place: int, token: PromptToken) -> Group:
    if place == 0:
        return "first"
    return "picture" if token.kind == "image" else _OF_PART[token.part]


def picture_cells(run: Run) -> tuple[int, ...]:
    """The positions of the picture's tokens, ascending."""
    return tuple(place for place, token in enumerate(run.tokens) if token.kind == "image")
