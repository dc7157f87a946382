"""Which positions of two prompts can be compared. Independent of Textual."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from engine.records import PromptToken
from tui.state.comparing import of_one_model
from tui.state.run_view import RunView

Pair = tuple[int, int]
"""A position of the left run's prompt, and the same of the right run's."""


@dataclass(frozen=True)
class SharedPlaces:
    """The positions whose tokens both prompts share, counted from the start and from the end:
    what one of them has in between, the other does not."""

    right_of: dict[int, int]
    """Position in the left prompt -> position in the right one."""
    firsts: tuple[int, ...]
    """The positions in the left prompt at which a walk stops; the folded picture counts as one."""
    parts: tuple[int, ...]
    """Those of them at which a part of the prompt begins."""

    @classmethod
    def of(cls, left: RunView, right: RunView, *, unfolded: bool) -> SharedPlaces:
        """Return the positions that two runs share; of different models, tokens are matched by
        text."""
        ours, theirs = left.own.run.tokens, right.own.run.tokens
        right_of = _shared(ours, theirs, by_text=not of_one_model(left, right))
        right_of.setdefault(left.own.run.position, right.own.run.position)
        walked = left.prompt_spans(unfolded=unfolded).all
        spans = [span for span in walked if span.first in right_of]
        begins = [
            span.first
            for index, span in enumerate(spans)
            if index == 0 or span.part != spans[index - 1].part
        ]
        return cls(right_of, tuple(span.first for span in spans), tuple(begins))

    def step(self, here: int, by: int) -> Pair | None:
        """Return the shared positions after, or with a negative `by` before, a position of the
        left prompt; None where there are none."""
        return self._next(self.firsts, here, by)

    def part(self, here: int, by: int) -> Pair | None:
        """Return where the next or the previous part begins; None where none does."""
        return self._next(self.parts, here, by)

    def _next(self, places: Sequence[int], here: int, by: int) -> Pair | None:
        ahead = [at for at in places if (at > here if by > 0 else at < here)]
        if not ahead:
            return None
        found = ahead[0] if by > 0 else ahead[-1]
        return found, self.right_of[found]


def _shared(
    ours: Sequence[PromptToken], theirs: Sequence[PromptToken], *, by_text: bool
) -> dict[int, int]:
    def same(one: PromptToken, other: PromptToken) -> bool:
        if one.kind != other.kind:
            return False
        return one.text == other.text if by_text else one.id == other.id

    most = min(len(ours), len(theirs))
    start = 0
    while start < most and same(ours[start], theirs[start]):
        start += 1
    end = 0
    while end < most - start and same(ours[-1 - end], theirs[-1 - end]):
        end += 1
    found = {at: at for at in range(start)}
    found |= {len(ours) - at: len(theirs) - at for at in range(end, 0, -1)}
    return found
