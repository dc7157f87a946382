"""One pass over a batch, its rows read when it is over: for sweeps, where nobody watches.

A device works through what it is given while the host goes on; nothing here waits for it before
the numbers are asked for, so that one batch can be given to it before the last one's are.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from engine.anatomy.logit_map import tolerances
from engine.anatomy.parts import as_proof
from engine.anatomy.tail import RowStream, TailMethod
from engine.lens.readout import Block, Numbers, joined, read, top_ids_of_rows
from engine.passes.forward import Forward
from engine.records import Proof
from engine.system.transfers import Fetched, sent

LOGITS_AT_ONCE = 2**25
"""Rows times items times vocabulary: 128 MB, and some six times as much while they are read."""
LOGITS_AT_ONCE_ON_CPU = 2**21
"""8 MB, which are at hand again for the next rows; larger ones come from the system every time,
which took three times as long as reading them."""


class RowNumbers(NamedTuple):
    """Of the rows of one item, on the CPU, all float32 but ids and ranks."""

    top_ids: Tensor
    """[rows, count]"""
    top_probabilities: Tensor
    top_logits: Tensor
    entropy: Tensor
    """[rows], as those below; NaN for a row that is not a number."""
    kl_to_last: Tensor
    truth_probability: Tensor
    truth_rank: Tensor
    final_probability: Tensor
    final_rank: Tensor


@dataclass(frozen=True)
class ItemNumbers:
    """What a batched pass gives of one item."""

    rows: RowNumbers
    """0..L."""
    unnormed: RowNumbers | None
    """0..L-1, the final norm left out."""
    rms: Tensor
    """[L + 1]"""
    notes: tuple[str | None, ...]
    """Per row, why it is not the truncated model's."""
    proof: Proof


class BatchNumbers:
    """The numbers of a batch, perhaps still being computed."""

    def __init__(
        self,
        normed: Block,
        unnormed: Block | None,
        proofs: Tensor,
        notes: Sequence[tuple[str | None, ...]],
        method: TailMethod,
    ) -> None:
        """Cells of blocks are all items of row 0, then of row 1 and so on; `proofs` [2, items] are
        differences and tolerances."""
        self._notes = notes
        self._method = method
        self._blocks = [normed] if unnormed is None else [normed, unnormed]
        self._fetched = Fetched([proofs, *(block.values for block in self._blocks)])

    @property
    def are_ready(self) -> bool:
        """Whether they were computed at once."""
        return self._fetched.is_there

    def items(self) -> list[ItemNumbers]:
        """Of each item, once they are there."""
        proofs, *values = self._fetched.wait()
        items = proofs.shape[1]
        normed, *bare = (
            Numbers(*(each.view(-1, items, *each.shape[1:]) for each in block.numbers()))
            for block in (
                block._replace(values=arrived)
                for block, arrived in zip(self._blocks, values, strict=True)
            )
        )
        differences, limits = proofs.nan_to_num(float("inf")).tolist()
        return [
            ItemNumbers(
                rows=_rows_of(normed, item),
                unnormed=_rows_of(bare[0], item) if bare else None,
                rms=normed.rms[:, item],
                notes=self._notes[item],
                proof=as_proof(differences[item], limits[item], self._method),
            )
            for item in range(items)
        ]


class BatchedPass:
    """A pass over n items, read at the last attended token of each."""

    def __init__(self, forward: Forward) -> None:
        self._forward = forward
        self._layers = len(forward.parts.layers)
        self._streams: list[RowStream] = []
        """Rows 0..L, [n, *rest] each."""
        self._model_logits = torch.empty(0)
        """The model's own logits, [n, vocabulary]."""

    def run(self, around: AbstractContextManager[object] | None = None) -> BatchedPass:
        """Run the pass, inside `around`."""
        with around or nullcontext():
            self._model_logits = self._forward.run(lambda row, stream: self._streams.append(stream))
        return self

    def numbers(self, truths: Sequence[Sequence[int]], count: int, unnormed: bool) -> BatchNumbers:
        """What is kept of every item; `truths` are the ids that begin the truth of each, if any.

        `unnormed`: also without the final norm, which not every model can leave out.
        """
        model_logits, last, parts = self._model_logits, self._layers, self._forward.parts
        with self._forward.evaluating():
            columns = _Columns.of(truths, model_logits)
            computed = self._forward.project([self._streams[last]]).to(model_logits.device)
            # Tokens that the model rules out are at minus infinity on both sides.
            differences = (
                (computed - model_logits).abs().masked_fill(computed == model_logits, 0.0).amax(-1)
            )
            return BatchNumbers(
                normed=self._read(range(last + 1), columns, count, norm=True),
                unnormed=self._read(range(last), columns, count, norm=False) if unnormed else None,
                proofs=torch.stack([differences, tolerances(parts.dtype, model_logits)]),
                notes=[self._notes(item) for item in range(len(model_logits))],
                method=parts.tail.method,
            )

    def _notes(self, item: int) -> tuple[str | None, ...]:
        return tuple(
            self._forward.note(row, _of_item(stream, item))
            for row, stream in enumerate(self._streams)
        )

    def _read(self, rows: range, columns: _Columns, count: int, norm: bool) -> Block:
        """Of `rows` and all items; some rows at a time."""
        at_once = (
            LOGITS_AT_ONCE_ON_CPU if self._model_logits.device.type == "cpu" else LOGITS_AT_ONCE
        )
        size = max(1, at_once // self._model_logits.numel())
        blocks = []
        for start in range(0, len(rows), size):
            some = rows[start : start + size]
            streams = torch.cat(
                [self._streams[row].stream.to(self._model_logits.device) for row in some]
            )
            blocks.append(
                read(
                    self._logits(some, norm),  # [rows * items, vocabulary]
                    count,
                    streams,
                    [columns.truths.repeat(len(some), 1), columns.final.repeat(len(some), 1)],
                    columns.log_q,
                )
            )
        return joined(blocks)

    def _logits(self, rows: range, norm: bool) -> Tensor:
        last = self._layers
        projected = [self._streams[row] for row in rows if row != last]
        parts = []
        if projected:
            parts.append(self._forward.project(projected, norm).to(self._model_logits.device))
        if last in rows:
            parts.append(self._model_logits)
        return parts[0] if len(parts) == 1 else torch.cat(parts)


class _Columns(NamedTuple):
    """What the rows of n items are compared with, on the device of the logits."""

    truths: Tensor
    """[n, most spellings], filled up with -1."""
    final: Tensor
    """[n, 1]: the model's answer."""
    log_q: Tensor
    """[n, vocabulary]: log-probabilities of the last row."""

    @classmethod
    def of(cls, truths: Sequence[Sequence[int]], model_logits: Tensor) -> _Columns:
        most = max([1, *map(len, truths)])
        # Ascending, so that of equal logits the lower id counts.
        filled = [[*sorted(ids), *[-1] * (most - len(ids))] for ids in truths]
        return cls(
            sent(torch.tensor(filled), model_logits.device),
            top_ids_of_rows(model_logits, 1),
            model_logits.log_softmax(-1),
        )


def _rows_of(numbers: Numbers, item: int) -> RowNumbers:
    """Of one item; every field of `numbers` is [rows, items, ...]."""
    truth, final = 0, 1
    return RowNumbers(
        top_ids=numbers.ids[:, item],
        top_probabilities=numbers.probabilities[:, item],
        top_logits=numbers.logits[:, item],
        entropy=numbers.entropy[:, item],
        kl_to_last=numbers.kl[:, item],
        truth_probability=numbers.followed_probabilities[:, item, truth],
        truth_rank=numbers.followed_ranks[:, item, truth],
        final_probability=numbers.followed_probabilities[:, item, final],
        final_rank=numbers.followed_ranks[:, item, final],
    )


def _of_item(stream: RowStream, item: int) -> RowStream:
    before = None if stream.before_addition is None else stream.before_addition[item : item + 1]
    return RowStream(stream.stream[item : item + 1], (), before)
