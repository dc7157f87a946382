"""Which inputs can go together in one pass: proved on the model itself, never assumed.

A model may look at its padding, at the other items, or take one item at a time; a batch that
changes a row is refused, saying why.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from engine.batches import another_pad_id, batch_key, collate, length_of, pad_id_of
from engine.errors import CannotRead
from engine.logit_map import difference, tolerance
from engine.memory import is_out_of_memory
from engine.tail import Tail

if TYPE_CHECKING:
    from engine.lens import Lens

REPLAYS_ALONE = "this model's rows are read by running it again: one item at a time"
REFUSALS = (CannotRead, IndexError, RuntimeError, TypeError, ValueError)
"""What models raise that are given what they do not take."""


def _never() -> bool:
    return False


class BatchProofs:
    """What has been found out about batches of one model's inputs."""

    def __init__(self, lens: Lens) -> None:
        self._lens = lens
        self._refused: dict[tuple[frozenset[str], bool], tuple[str | None, int]] = {}
        """Per kind of inputs, of one length or not: why they cannot go together, and the padding
        that has been tried."""
        self.rounding = 0.0
        """How far logits in a batch were seen to be from those of an item alone, where half
        precision rounds them otherwise and nothing else does."""

    def refusal(
        self, items: Sequence[Mapping[str, Any]], stop: Callable[[], bool] = _never
    ) -> str | None:
        """Why these inputs, one item each, cannot be read in one pass; None where they can.

        Found out once for inputs of a kind, and again for those of unequal lengths and for more
        padding than has been proved: the shortest and the longest of `items` are run together and
        alone, and all their rows must agree within the tolerance of the proof, or differ by
        rounding alone. That takes three passes, or six. Raises Cancelled once `stop()`.
        """
        if len({batch_key(item) for item in items}) > 1:
            return "their inputs have different shapes"
        ordered = sorted(items, key=length_of)
        shortest, longest = ordered[0], ordered[-1]
        padding = length_of(longest) - length_of(shortest)
        key = (frozenset(shortest), padding > 0)
        reason, proved = self._refused.get(key, (None, -1))
        if reason is None and padding > proved:
            reason = self._proved([longest, shortest], stop)
            self._refused[key] = reason, padding
        return reason

    def _proved(self, items: Sequence[Mapping[str, Any]], stop: Callable[[], bool]) -> str | None:
        lens = self._lens
        together = lens.collated(items)
        lens.learn(items[0])
        if not isinstance(lens.parts.tail, Tail):
            return REPLAYS_ALONE
        try:
            found = lens.logits(together, stop=stop)
        except REFUSALS as error:
            if is_out_of_memory(error):
                raise
            return f"this model does not take them together ({' '.join(str(error).split())[:200]})"
        alone = [lens.logits(item, stop=stop) for item in items]
        gaps = [difference(found[:, index : index + 1], each) for index, each in enumerate(alone)]
        gap, limit = max(gaps), min(tolerance(lens.parts.dtype, each) for each in alone)
        if gap <= limit:
            return None
        if self._only_rounds(items, found, alone, gaps, stop):
            self.rounding = max(self.rounding, gap)
            return None
        return f"rows differ by {gap:.3g} from those of an item alone ({limit:.3g} allowed)"

    def _only_rounds(
        self,
        items: Sequence[Mapping[str, Any]],
        found: Tensor,
        alone: Sequence[Tensor],
        gaps: Sequence[float],
        stop: Callable[[], bool],
    ) -> bool:
        """Whether a batch does nothing to rows but round them otherwise, as half precision does in
        passes of another shape.

        Then nothing of a row depends on what else is in the batch, to the bit: neither on the other
        item nor on what padding is filled with; and it is no farther from the row alone than that
        of a pair of the same item is, by a factor of two.
        """
        lens = self._lens
        if lens.parts.dtype not in (torch.bfloat16, torch.float16):
            return False
        pairs = [lens.logits(lens.collated([item, item]), stop=stop) for item in items]
        if not torch.equal(pairs[0][:, :1], found[:, :1]):
            return False
        filled = collate(items, another_pad_id(items[0], pad_id_of(lens.model)))
        if not torch.equal(lens.logits(filled, stop=stop), found):
            return False
        return all(
            gap <= 2 * difference(pair[:, :1], each)
            for gap, pair, each in zip(gaps, pairs, alone, strict=True)
        )
