"""One pass over a batch, whose rows are read after the pass: for sweeps, where nobody watches.

An accelerator works asynchronously. Nothing here waits for it before `BatchNumbers.items` is
called, so the next batch can be launched before the numbers of the last one have arrived.
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
"""Rows * items * vocabulary: 128 MB of float32, and about six times as much while they are read."""
LOGITS_AT_ONCE_ON_CPU = 2**21
"""8 MB of float32, which the allocator reuses for the next rows; larger blocks are requested from
the system every time, which took three times as long as reading the rows."""


class RowNumbers(NamedTuple):
    """The numbers of one item's rows, on the CPU; float32, ids and ranks int32."""

    top_ids: Tensor
    """[rows, count], like the two below."""
    top_probabilities: Tensor
    top_logits: Tensor
    entropy: Tensor
    """[rows], like all below; NaN if the row's logits hold a NaN. Nats, as is `kl_to_last`."""
    kl_to_last: Tensor
    truth_probability: Tensor
    truth_rank: Tensor
    final_probability: Tensor
    final_rank: Tensor


@dataclass(frozen=True)
class ItemNumbers:
    """What a batched pass has found for one item."""

    rows: RowNumbers
    """Rows 0..L."""
    unnormed: RowNumbers | None
    """Rows 0..L-1 without the final norm, if they were asked for."""
    rms: Tensor
    """float32 [L + 1]"""
    notes: tuple[str | None, ...]
    """For each row, why it is not exactly the truncated model's, or None if it is."""
    proof: Proof


class BatchNumbers:
    """The numbers of a batch, which the device may still be computing."""

    def __init__(
        self,
        normed: Block,
        unnormed: Block | None,
        proofs: Tensor,
        notes: Sequence[tuple[str | None, ...]],
        method: TailMethod,
    ) -> None:
        """The cells of a block are all items of row 0, then all items of row 1, and so on. `proofs`
        [2, items] holds the largest differences and the tolerances of the items."""
        self._notes = notes
        self._method = method
        self._blocks = [normed] if unnormed is None else [normed, unnormed]
        self._fetched = Fetched([proofs, *(block.values for block in self._blocks)])

    @property
    def are_ready(self) -> bool:
        """Whether `items` returns without waiting for a device."""
        return self._fetched.is_there

    def items(self) -> list[ItemNumbers]:
        """The numbers of each item; waits until the device has computed them."""
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
    """A pass over n batch items, read at the last attended token of each."""

    def __init__(self, forward: Forward) -> None:
        self._forward = forward
        self._layers = len(forward.parts.layers)
        self._streams: list[RowStream] = []
        """The streams of rows 0..L, [n, *rest] each."""
        self._model_logits = torch.empty(0)
        """The model's own logits, [n, vocabulary]."""

    def run(self, around: AbstractContextManager[object] | None = None) -> BatchedPass:
        """Run the pass within the context `around`, and return this."""
        with around or nullcontext():
            self._model_logits = self._forward.run(lambda row, stream: self._streams.append(stream))
        return self

    def numbers(self, truths: Sequence[Sequence[int]], count: int, unnormed: bool) -> BatchNumbers:
        """The numbers of every item.

        `truths` are, for each item, the first token ids of the spellings of its true answer (none
        if it has no truth); `count` is how many top tokens to read. `unnormed` also reads the rows
        without the final norm.
        """
        model_logits, last, parts = self._model_logits, self._layers, self._forward.parts
        with self._forward.evaluating():
            columns = _Columns.of(truths, model_logits)
            computed = self._forward.project([self._streams[last]]).to(model_logits.device)
            # Tokens that the model rules out are minus infinity on both sides: no difference.
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
            self._forward.parts.note(row, _of_item(stream, item))
            for row, stream in enumerate(self._streams)
        )

    def _read(self, rows: range, columns: _Columns, count: int, norm: bool) -> Block:
        """The numbers of `rows` for all items, some rows at a time."""
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
                    reference=columns.log_q,
                    spelled=[
                        columns.truths.repeat(len(some), 1),
                        columns.final.repeat(len(some), 1),
                    ],
                )
            )
        return joined(blocks)

    def _logits(self, rows: range, norm: bool) -> Tensor:
        last = self._layers
        projected = [self._streams[row] for row in rows if row != last]
        pieces = []
        if projected:
            pieces.append(self._forward.project(projected, norm).to(self._model_logits.device))
        if last in rows:
            pieces.append(self._model_logits)
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces)


class _Columns(NamedTuple):
    """What the rows of n items are compared with, on the device of the logits."""

    truths: Tensor
    """int64 [n, most spellings]: ids of each item's truth, padded with -1."""
    final: Tensor
    """int64 [n, 1]: the model's answer."""
    log_q: Tensor
    """float32 [n, vocabulary]: log-probabilities of the last row."""

    @classmethod
    def of(cls, truths: Sequence[Sequence[int]], model_logits: Tensor) -> _Columns:
        most = max([1, *map(len, truths)])
        # Ascending, so that ties go to the lower id.
        filled = [[*sorted(ids), *[-1] * (most - len(ids))] for ids in truths]
        return cls(
            sent(torch.tensor(filled), model_logits.device),
            top_ids_of_rows(model_logits, 1),
            model_logits.log_softmax(-1),
        )


def _rows_of(numbers: Numbers, item: int) -> RowNumbers:
    """The numbers of one item; every field of `numbers` is [rows, items, ...]."""
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
