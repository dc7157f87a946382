"""Proves on the model itself which inputs can be batched into one pass.

A model may let padding or the other items of a batch influence a row, or may only take one item at
a time. A batch that changes a row is refused with the reason. In half precision, rows are rounded
differently in passes of different shapes; callers decide whether they accept that.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from engine.anatomy.logit_map import difference, tolerance
from engine.anatomy.parts import ModelParts
from engine.errors import CannotRead, typed_line
from engine.lens.input_kinds import kind_of
from engine.passes.collating import (
    another_like,
    another_pad_id,
    batch_key,
    collate,
    length_of,
    pad_id_of,
)
from engine.system.memory import is_out_of_memory

REPLAYS_ALONE = "this model's rows are read by running it again, so only one item at a time"
REFUSALS = (CannotRead, IndexError, RuntimeError, TypeError, ValueError)
"""What models raise for inputs that they do not support."""
MOST_ROUNDING = 4
"""The most by which half precision may round a batched row away from the row of an item alone, in
tolerances of the proof: 2^-5 of the largest logit in bfloat16."""


class ReadsLogits(Protocol):
    """What a proof of batches needs from a lens."""

    model: Any

    def learn(self, inputs: Mapping[str, Any]) -> ModelParts: ...

    def collated(self, items: Sequence[Mapping[str, Any]]) -> dict[str, Any]: ...

    def logits(self, inputs: Mapping[str, Any], *, stop: Callable[[], bool] = ...) -> Tensor: ...


class _Verdict(NamedTuple):
    """The result of one proof."""

    reason: str | None
    """Why such inputs cannot be batched, or None; set even if rounding is the only effect."""
    padding: int
    """The largest padding that the proof has tried, in tokens."""
    only_rounds: bool = False


class BatchProofs:
    """What has been proved about batches of one model's inputs."""

    def __init__(self, lens: ReadsLogits) -> None:
        self._weak_lens = weakref.ref(lens)  # the lens owns this: a cycle would keep the model
        self._verdicts: dict[tuple[frozenset[str], bool], _Verdict] = {}
        """By kind of inputs (their names), and whether their lengths differ."""
        self.rounding = 0.0
        """The largest difference seen between batched logits and those of an item alone, where
        rounding in half precision is the only cause."""

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
        """Why these inputs, of one item each, cannot be read in one pass; None if they can.

        The shortest and the longest of `items` are run together and alone, and all their rows must
        agree within the tolerance of the proof. This is done once for each kind of inputs, once
        more if their lengths differ, and again for more padding than has been tried. With
        `may_round`, differences by rounding in half precision are accepted, if it is proved that
        the batch has no other effect. A proof takes three to seven passes. Raises Cancelled soon
        after `stop()` is true.
        """
        if len({batch_key(item) for item in items}) > 1:
            return "their inputs have different shapes"
        ordered = sorted(items, key=length_of)
        shortest, longest = ordered[0], ordered[-1]
        padding = length_of(longest) - length_of(shortest)
        key = (kind_of(shortest), padding > 0)
        verdict = self._verdicts.get(key, _Verdict(None, -1))
        if padding > verdict.padding and (verdict.reason is None or verdict.only_rounds):
            verdict = self._prove([longest, shortest], padding, stop)
            self._verdicts[key] = verdict
        return None if may_round and verdict.only_rounds else verdict.reason

    def _prove(
        self, items: Sequence[Mapping[str, Any]], padding: int, stop: Callable[[], bool]
    ) -> _Verdict:
        lens = self._lens
        together = lens.collated(items)
        parts = lens.learn(items[0])
        if not parts.tail.takes_batches:
            return _Verdict(REPLAYS_ALONE, padding)
        try:
            batched = lens.logits(together, stop=stop)  # [rows, items, 1, vocabulary]
        except REFUSALS as error:
            if is_out_of_memory(error):
                raise
            why = f"this model does not take them together ({typed_line(error)})"
            return _Verdict(why, padding)
        alone = [lens.logits(item, stop=stop) for item in items]  # [rows, 1, 1, vocabulary] each
        differences = [
            difference(batched[:, index : index + 1], each) for index, each in enumerate(alone)
        ]
        largest, limit = max(differences), min(tolerance(parts.dtype, each) for each in alone)
        if largest <= limit:
            return _Verdict(None, padding)
        reason = f"rows differ by {largest:.3g} from those of an item alone ({limit:.3g} allowed)"
        rounds = largest <= MOST_ROUNDING * limit and self._only_rounds(
            items, parts.dtype, batched, alone, differences, stop
        )
        if rounds:
            self.rounding = max(self.rounding, largest)
        return _Verdict(reason, padding, rounds)

    def _only_rounds(
        self,
        items: Sequence[Mapping[str, Any]],
        dtype: torch.dtype,
        batched: Tensor,
        alone: Sequence[Tensor],
        differences: Sequence[float],
        stop: Callable[[], bool],
    ) -> bool:
        """Whether rounding in half precision is the only effect that a batch has on rows.

        That is so if rows do not depend, to the bit, on the other item or on the token that padding
        is filled with, and if they differ from the rows of an item alone at most twice as much as
        the rows of a batch of two copies of the item do.
        """
        lens = self._lens
        if dtype not in (torch.bfloat16, torch.float16):
            return False
        pairs = [lens.logits(lens.collated([item, item]), stop=stop) for item in items]
        if not torch.equal(pairs[0][:, :1], batched[:, :1]):
            return False
        changed = lens.logits(lens.collated([another_like(items[0]), items[1]]), stop=stop)
        if not torch.equal(changed[:, 1:], batched[:, 1:]):
            return False
        filled = collate(items, another_pad_id(items[0], pad_id_of(lens.model)))
        if not torch.equal(lens.logits(filled, stop=stop), batched):
            return False
        return all(
            largest <= 2 * difference(pair[:, :1], each)
            for largest, pair, each in zip(differences, pairs, alone, strict=True)
        )
