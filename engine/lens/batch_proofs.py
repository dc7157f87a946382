"""Which inputs can go together in one pass: proved on the model itself, never assumed.

A model may look at its padding, at the other items, or take one item at a time; a batch that
changes a row is refused, saying why. Half precision rounds rows otherwise in passes of another
shape; whether that is good enough is for the caller to say.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from engine.anatomy.logit_map import difference, tolerance
from engine.anatomy.parts import ModelParts
from engine.errors import CannotRead, one_line
from engine.passes.collating import (
    another_like,
    another_pad_id,
    batch_key,
    collate,
    length_of,
    pad_id_of,
)
from engine.system.memory import is_out_of_memory

REPLAYS_ALONE = "this model's rows are read by running it again: one item at a time"
REFUSALS = (CannotRead, IndexError, RuntimeError, TypeError, ValueError)
"""What models raise that are given what they do not take."""
MOST_ROUNDING = 4
"""Tolerances that half precision may round a batch away from an item alone: 2^-5 of the largest
logit in bfloat16."""


class ReadsLogits(Protocol):
    """What a proof needs of a lens."""

    model: Any

    def learn(self, inputs: Mapping[str, Any]) -> ModelParts: ...

    def collated(self, items: Sequence[Mapping[str, Any]]) -> dict[str, Any]: ...

    def logits(self, inputs: Mapping[str, Any], *, stop: Callable[[], bool] = ...) -> Tensor: ...


class _Found(NamedTuple):
    """What became of one proof."""

    reason: str | None
    """Why such inputs cannot go together; also where all that happens is rounding."""
    padding: int
    """The most that has been tried."""
    only_rounds: bool = False


class BatchProofs:
    """What has been found out about batches of one model's inputs."""

    def __init__(self, lens: ReadsLogits) -> None:
        self._weak_lens = weakref.ref(lens)  # whose it is: a cycle would keep the model in memory
        self._found: dict[tuple[frozenset[str], bool], _Found] = {}
        """Per kind of inputs, of one length or not."""
        self.rounding = 0.0
        """How far logits in a pair were seen to be from those of an item alone, where half
        precision rounds them otherwise and nothing else does."""

    @property
    def _lens(self) -> ReadsLogits:
        lens = self._weak_lens()
        assert lens is not None
        return lens

    def refusal(
        self,
        items: Sequence[Mapping[str, Any]],
        stop: Callable[[], bool] = lambda: False,
        may_round: bool = False,
    ) -> str | None:
        """Why these inputs, one item each, cannot be read in one pass; None where they can.

        Found out once for inputs of a kind, and again for those of unequal lengths and for more
        padding than has been proved: the shortest and the longest of `items` are run together and
        alone, and all their rows must agree within the tolerance of the proof. With `may_round`
        half precision may round them otherwise, if a batch is proved to do nothing else. That takes
        three passes, or up to seven. Raises Cancelled once `stop()`.
        """
        if len({batch_key(item) for item in items}) > 1:
            return "their inputs have different shapes"
        ordered = sorted(items, key=length_of)
        shortest, longest = ordered[0], ordered[-1]
        padding = length_of(longest) - length_of(shortest)
        key = (frozenset(shortest), padding > 0)
        found = self._found.get(key, _Found(None, -1))
        if padding > found.padding and (found.reason is None or found.only_rounds):
            found = self._proved([longest, shortest], padding, stop)
            self._found[key] = found
        return None if may_round and found.only_rounds else found.reason

    def _proved(
        self, items: Sequence[Mapping[str, Any]], padding: int, stop: Callable[[], bool]
    ) -> _Found:
        lens = self._lens
        together = lens.collated(items)
        parts = lens.learn(items[0])
        if not parts.tail.takes_batches:
            return _Found(REPLAYS_ALONE, padding)
        try:
            found = lens.logits(together, stop=stop)
        except REFUSALS as error:
            if is_out_of_memory(error):
                raise
            why = f"this model does not take them together ({one_line(error, 200)})"
            return _Found(why, padding)
        alone = [lens.logits(item, stop=stop) for item in items]
        differences = [
            difference(found[:, index : index + 1], each) for index, each in enumerate(alone)
        ]
        largest, limit = max(differences), min(tolerance(parts.dtype, each) for each in alone)
        if largest <= limit:
            return _Found(None, padding)
        reason = f"rows differ by {largest:.3g} from those of an item alone ({limit:.3g} allowed)"
        rounds = largest <= MOST_ROUNDING * limit and self._only_rounds(
            items, parts.dtype, found, alone, differences, stop
        )
        if rounds:
            self.rounding = max(self.rounding, largest)
        return _Found(reason, padding, rounds)

    def _only_rounds(
        self,
        items: Sequence[Mapping[str, Any]],
        dtype: torch.dtype,
        found: Tensor,
        alone: Sequence[Tensor],
        differences: Sequence[float],
        stop: Callable[[], bool],
    ) -> bool:
        """Whether a batch does nothing to rows but round them otherwise, as half precision does in
        passes of another shape.

        Then no row depends on what else is in the batch, to the bit: neither on the other item nor
        on what padding is filled with; and it is no farther from the row alone than that of a pair
        of the same item is, by a factor of two.
        """
        lens = self._lens
        if dtype not in (torch.bfloat16, torch.float16):
            return False
        pairs = [lens.logits(lens.collated([item, item]), stop=stop) for item in items]
        if not torch.equal(pairs[0][:, :1], found[:, :1]):
            return False
        beside = lens.logits(lens.collated([another_like(items[0]), items[1]]), stop=stop)
        if not torch.equal(beside[:, 1:], found[:, 1:]):
            return False
        filled = collate(items, another_pad_id(items[0], pad_id_of(lens.model)))
        if not torch.equal(lens.logits(filled, stop=stop), found):
            return False
        return all(
            found <= 2 * difference(pair[:, :1], each)
            for found, pair, each in zip(differences, pairs, alone, strict=True)
        )
