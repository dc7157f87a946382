"""What tokens count as, for whatever sums over kinds of tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

from engine.records import PromptToken

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


def groups_of(tokens: Sequence[PromptToken]) -> tuple[Group, ...]:
    """The group of every token of a prompt."""
    rest: list[Group] = [_content_of(token) for token in tokens[1:]]
    return ("first", *rest) if tokens else ()


def _content_of(token: PromptToken) -> Group:
    return "picture" if token.kind == "image" else _OF_PART[token.part]


def picture_cells(tokens: Sequence[PromptToken]) -> tuple[int, ...]:
    """The positions of the picture's tokens, ascending."""
    return tuple(place for place, token in enumerate(tokens) if token.kind == "image")


def picture_marks(tokens: Sequence[PromptToken]) -> tuple[int, ...]:
    """The positions of the tokens that stand around and between the picture's, ascending."""
    return tuple(
        place
        for place, token in enumerate(tokens)
        if token.part == "picture" and token.kind != "image"
    )


@dataclass(frozen=True)
class KeyGroups:
    """What the keys of a question's attention count as: indices into GROUPS, a byte each."""

    tokens: bytes
    """Of the tokens of the prompt; the first one is not told apart yet."""
    source: bytes | None
    """Of the tokens of an encoder; None for a model without one."""

    def of_tokens(self, length: int) -> bytes:
        """Of the tokens of a sequence of this length: where the prompt is shorter, the picture's
        features come first."""
        missing = length - len(self.tokens)
        whole = bytes([GROUPS.index("picture")]) * missing + self.tokens
        return bytes([GROUPS.index("first")]) + whole[1:]

    def of_states(self, count: int) -> bytes:
        """Of the `count` states that cross-attention looks at; empty if that is not known."""
        picture = GROUPS.index("picture")
        if self.source is not None:
            return self.source if len(self.source) == count else b""
        return bytes([picture]) * count


def key_groups(
    model: Any, processor: Any, inputs: Mapping[str, Any], tokens: Sequence[PromptToken]
) -> KeyGroups:
    """The groups of a question's keys; `tokens` are those of the sequence, `inputs` a batch of
    one."""
    from engine.prompts.token_parts import token_kinds

    source = None
    if "decoder_input_ids" in inputs and inputs.get("input_ids") is not None:
        kinds = token_kinds(model, processor, inputs["input_ids"][0].tolist())
        source = bytes(GROUPS.index("picture" if kind == "image" else "question") for kind in kinds)
    return KeyGroups(bytes(GROUPS.index(_content_of(token)) for token in tokens), source)
