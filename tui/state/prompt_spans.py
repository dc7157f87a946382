"""The prompt, and the answer after it, as they are walked: one span per token, and the picture's
tokens folded to one."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from engine.records import PromptToken, TokenPart

_LEAST_FOLDED = 2

SpanPart = TokenPart | Literal["answer"]
"""The part of the prompt that a span belongs to, or the answer after it."""


@dataclass(frozen=True, slots=True)
class Span:
    """Neighbouring positions that are shown as one."""

    first: int
    last: int
    """The same as `first` for a token of its own."""
    part: SpanPart

    @property
    def count(self) -> int:
        """How many positions it has."""
        return self.last - self.first + 1

    @property
    def folded(self) -> bool:
        """Whether it stands for several positions."""
        return self.last > self.first


@dataclass(frozen=True)
class Spans:
    """All of a prompt, in order."""

    all: tuple[Span, ...]
    firsts: tuple[int, ...]

    @classmethod
    def of(cls, tokens: Sequence[PromptToken], *, unfolded: bool, answer: int = 0) -> Spans:
        """Return the spans of a prompt; each run of picture tokens is one unless `unfolded`. After
        the prompt come the spans of an answer of so many tokens."""
        spans: list[Span] = []
        start = 0
        while start < len(tokens):
            end = start
            if tokens[start].kind == "image" and not unfolded:
                while end + 1 < len(tokens) and tokens[end + 1].kind == "image":
                    end += 1
            if end - start + 1 < _LEAST_FOLDED:
                end = start
            spans.append(Span(start, end, tokens[start].part))
            start = end + 1
        spans += [Span(at, at, "answer") for at in range(start, start + answer)]
        return cls(tuple(spans), tuple(span.first for span in spans))

    def __len__(self) -> int:
        return len(self.all)

    def index(self, position: int) -> int:
        """Return which span has a position; the nearest if none has it."""
        return max(bisect_right(self.firsts, position) - 1, 0)

    def step(self, position: int, by: int) -> int:
        """Return the position so many spans further on; a folded span counts as one step."""
        if not self.all:
            return position
        return self.all[min(max(self.index(position) + by, 0), len(self.all) - 1)].first

    def next_part(self, position: int, by: int) -> int:
        """Return where the next (or this or the previous) part of the prompt begins: template,
        system prompt, picture, prompt, prefix or answer."""
        if not self.all:
            return position
        here = self.index(position)
        begins = [
            index
            for index, span in enumerate(self.all)
            if index == 0 or span.part != self.all[index - 1].part
        ]
        if by > 0:
            last = len(self.all) - 1
            return self.all[next((index for index in begins if index > here), last)].first
        return self.all[next((index for index in reversed(begins) if index < here), 0)].first


def patch_of(tokens: Sequence[PromptToken], position: int) -> tuple[int, int] | None:
    """Return which patch of its picture stands at a position, from 1, and how many the picture
    has; None if it is no patch."""
    if not 0 <= position < len(tokens) or tokens[position].kind != "image":
        return None
    first = last = position
    while first > 0 and tokens[first - 1].kind == "image":
        first -= 1
    while last + 1 < len(tokens) and tokens[last + 1].kind == "image":
        last += 1
    return position - first + 1, last - first + 1
