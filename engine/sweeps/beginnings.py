"""How long a beginning the questions about pictures have in common, and which pictures' beginnings
can be read in one pass."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from torch import Tensor

from engine.lens.reuse_kinds import sequences_along
from engine.passes.prefix_cache import FEWEST_NEW, IDS, MASK, same_at_start
from engine.passes.vision_reuse import same
from engine.sweeps.preparing import PreparedPicture, PreparedTask

MOST_KNOWN: Final = 1000
"""How many sets of sequences are known at a time."""
MOST_PASSES: Final = 2
"""How many times as many passes, counted with those over beginnings, are run at most where passes
cost more than tokens."""


class Span(NamedTuple):
    """How many tokens can be read ahead of some questions: at least `low`, which hold the picture,
    and at most `high`, which are the same in all."""

    low: int
    high: int

    def meets(self, other: Span) -> Span:
        """What is possible for both."""
        return Span(max(self.low, other.low), min(self.high, other.high))

    @property
    def is_empty(self) -> bool:
        """Whether nothing is possible."""
        return self.low > self.high


NOWHERE: Final = Span(1, 0)


class Together(NamedTuple):
    """Pictures whose questions are asked together."""

    pictures: list[PreparedPicture]
    begun: int
    """The number of tokens that are read ahead of all questions about them; 0 for none."""
    most: int | None = None
    """How many questions may go on at a time; None for any number."""


Room = Callable[[PreparedPicture, int], int | None]
"""For how many beginnings of this number of tokens memory has room; None if that is not known. One
of the picture's may be read to find it out."""


class Beginnings:
    """Divides pictures by the beginnings that their questions have in common."""

    def __init__(self, image: int | None, counts_passes: bool) -> None:
        """`image` is the token that stands for the picture, if there is one; `counts_passes` where
        a pass over few tokens takes about as long as one over many."""
        self._image = image
        self._counts_passes = counts_passes
        self._known: dict[tuple[bytes, ...], Span] = {}
        """By the digests of the sequences."""

    def divided(
        self, pictures: Sequence[PreparedPicture], size: int, room: Room
    ) -> Iterator[Together]:
        """All pictures, of which all have the same number of questions, which go through the model
        in batches of `size`; beginnings of no more pictures are kept at a time than `room` says."""
        spans = [self._of_picture(picture) for picture in pictures]
        found = list(_sharing(pictures, spans, room))
        if self._counts_passes:
            each = len(pictures[0].tasks)
            whole = _passes(len(pictures) * each, size)
            ahead = sum(1 + _passes(len(some.pictures) * each, size) for some in found)
            if ahead > MOST_PASSES * whole:
                found = []
        ahead_of = {id(picture) for some in found for picture in some.pictures}
        others = [picture for picture in pictures if id(picture) not in ahead_of]
        if others:
            yield Together(others, 0)
        yield from found

    def _of_picture(self, picture: PreparedPicture) -> Span:
        """What can be read ahead of the questions about a picture, and about each thing that stands
        in its place."""
        by_pixels: dict[str, list[PreparedTask]] = {}
        for task in picture.tasks:
            by_pixels.setdefault(task.task.against, []).append(task)
        if len(by_pixels) == len(picture.tasks):
            return NOWHERE  # nothing is asked about twice
        found = Span(1, 2**31)
        for tasks in by_pixels.values():
            found = found.meets(self._of_questions([task.inputs for task in tasks]))
        return found

    def _of_questions(self, questions: Sequence[Mapping[str, Any]]) -> Span:
        first = questions[0]
        ids = first.get(IDS)
        if not isinstance(ids, Tensor) or ids.ndim != 2:
            return NOWHERE
        along = [sequences_along(each, each[IDS]) for each in questions]
        names = along[0].keys()
        if any(each.keys() != names for each in along):
            return NOWHERE
        others = first.keys() - names
        if not all(
            each.keys() == first.keys() and all(same(each[name], first[name]) for name in others)
            for each in questions
        ):
            return NOWHERE
        key = tuple(digest_of(each) for each in along)
        if key not in self._known:
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()
            self._known[key] = self._of_sequences(along)
        return self._known[key]

    def _of_sequences(self, along: Sequence[Mapping[str, Tensor]]) -> Span:
        first = along[0]
        if any(MASK in each and not bool((each[MASK] != 0).all()) for each in along):
            return NOWHERE
        high = min(int(each[IDS].shape[1]) for each in along) - FEWEST_NEW
        for each in along[1:]:
            for name, value in each.items():
                high = min(high, same_at_start(first[name][0], value[0]))
        return Span(max(1, self._picture_end(along)), high)

    def _picture_end(self, along: Sequence[Mapping[str, Tensor]]) -> int:
        """The number of tokens up to the end of the picture, the largest of all questions'."""
        if self._image is None:
            return 0
        ends = [(each[IDS][0] == self._image).nonzero() for each in along]
        return max(int(places[-1]) + 1 if len(places) else 0 for places in ends)


def _sharing(
    pictures: Sequence[PreparedPicture], spans: Sequence[Span], room: Room
) -> Iterator[Together]:
    """Pictures by the number of tokens that can be read ahead of all of them: few groups, since
    each is as long as the picture with the shortest common beginning in it allows."""
    left = [place for place, span in enumerate(spans) if not span.is_empty]
    while left:
        count = min(spans[place].high for place in left)
        together = [place for place in left if spans[place].low <= count]
        left = [place for place in left if spans[place].low > count]
        most = room(pictures[together[0]], count)
        size = len(together) if most is None else most
        for start in range(0, len(together), size) if size else ():
            some = [pictures[place] for place in together[start : start + size]]
            yield Together(some, count, most)


def digest_of(sequences: Mapping[str, Tensor]) -> bytes:
    """Equal for inputs along a sequence, on the CPU, of the same names, types, shapes, values."""
    found = hashlib.blake2b(digest_size=16)
    for name, value in sequences.items():
        found.update(f"{name} {value.dtype} {tuple(value.shape)} ".encode())
        found.update(value.contiguous().numpy().tobytes())
    return found.digest()


def _passes(items: int, size: int) -> int:
    return -(-items // size)
