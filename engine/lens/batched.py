"""One pass over a batch, whose rows are read after the pass: for sweeps, where nobody watches.

An accelerator works asynchronously. Nothing here waits for it before `BatchNumbers.items` is
called, so the next batch can be launched before the numbers of the last one have arrived.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from engine.anatomy.logit_map import errors_and_limits
from engine.anatomy.parts import as_proof
from engine.anatomy.tail import RowStream, TailMethod
from engine.lens.batch_attention import BatchAttention, ItemAttention
from engine.lens.ranking import Blocks
from engine.lens.readout import Block, Numbers, joined, read
from engine.lens.reuse_kinds import NO_GAP, Gap, worst_gap
from engine.passes.attention_taps import AttentionTaps
from engine.passes.forward import Forward
from engine.prompts.token_groups import KeyGroups
from engine.records import Proof
from engine.system.transfers import Fetched, sent

LOGITS_AT_ONCE = 2**26
"""Rows * items * vocabulary: 256 MB of float32, and three times as much while they are read."""
LOGITS_AT_ONCE_ON_CPU = 2**21
"""8 MB of float32, which the allocator reuses for the next rows; larger blocks are requested from
the system every time, which took three times as long as reading the rows."""


class RowNumbers(NamedTuple):
    """The numbers of the rows of n items, on the CPU; float32, ids and ranks int32."""

    top_ids: Tensor
    """[n, rows, count], like the two below."""
    top_probabilities: Tensor
    top_logits: Tensor
    entropy: Tensor
    """[n, rows], like all below; NaN if the row's logits hold a NaN. Nats, as is `kl_to_last`."""
    kl_to_last: Tensor
    truth_probability: Tensor
    truth_rank: Tensor
    final_probability: Tensor
    final_rank: Tensor


@dataclass(frozen=True)
class ItemNumbers:
    """What a batched pass has found for its n items."""

    rows: RowNumbers
    """Rows 0..L."""
    unnormed: RowNumbers | None
    """Rows 0..L-1 without the final norm, if they were asked for."""
    rms: Tensor
    """float32 [n, L + 1]"""
    notes: tuple[tuple[str | None, ...], ...]
    """For each item and row, why it is not exactly the truncated model's, or None if it is."""
    proofs: tuple[Proof, ...]
    attention: tuple[ItemAttention, ...] | None = None
    """None unless it was asked for."""


class BatchNumbers:
    """The numbers of a batch, which the device may still be computing."""

    def __init__(
        self,
        normed: Block,
        unnormed: Block | None,
        proofs: Tensor,
        notes: Sequence[str | None],
        unchanged: Mapping[int, Tensor],
        method: TailMethod,
        attention: BatchAttention | None = None,
    ) -> None:
        """The cells of a block are all items of row 0, then all items of row 1, and so on. `proofs`
        [2, n] holds the largest differences and the tolerances of the n items. `notes` are those of
        the rows, but for the items of a row where `unchanged` (bool [n]) says that it needs none.
        """
        self._items = proofs.shape[1]
        self._notes = notes
        self._noted = tuple(unchanged)
        self._method = method
        self._attention = attention
        self._blocks = [normed] if unnormed is None else [normed, unnormed]
        flags = [each.to(proofs.device, torch.int32) for each in unchanged.values()]
        pieces = [*(block.values for block in self._blocks), proofs.view(torch.int32), *flags]
        self._sizes = [piece.numel() for piece in pieces]
        self._fetched = Fetched([torch.cat([piece.flatten() for piece in pieces])])

    @property
    def are_ready(self) -> bool:
        """Whether `items` returns without waiting for a device."""
        attention = self._attention
        return self._fetched.is_there and (attention is None or attention.is_ready)

    def items(self) -> ItemNumbers:
        """The numbers of all items; waits until the device has computed them."""
        pieces = self._fetched.wait()[0].split(self._sizes)
        count = len(self._blocks)
        normed, *bare = (
            self._by_item(block._replace(values=piece.view_as(block.values)))
            for block, piece in zip(self._blocks, pieces[:count], strict=True)
        )
        proofs = pieces[count].view(torch.float32).view(2, self._items)
        return ItemNumbers(
            rows=_rows_of(normed),
            unnormed=_rows_of(bare[0]) if bare else None,
            rms=normed.rms,
            notes=self._notes_of_items([piece.tolist() for piece in pieces[count + 1 :]]),
            proofs=tuple(as_proof(gap, limit, self._method) for gap, limit in proofs.T.tolist()),
            attention=None if self._attention is None else self._attention.items(),
        )

    def _by_item(self, block: Block) -> Numbers:
        """Fields [n, rows, ...]."""
        return Numbers(
            *(
                each.view(-1, self._items, *each.shape[1:]).transpose(0, 1)
                for each in block.numbers()
            )
        )

    def _notes_of_items(
        self, unchanged: Sequence[Sequence[int]]
    ) -> tuple[tuple[str | None, ...], ...]:
        if not unchanged:
            return (tuple(self._notes),) * self._items
        flags = dict(zip(self._noted, unchanged, strict=True))
        return tuple(
            tuple(
                None if row in flags and flags[row][item] else note
                for row, note in enumerate(self._notes)
            )
            for item in range(self._items)
        )


class BatchedPass:
    """A pass over n batch items, read at the last attended token of each."""

    def __init__(self, forward: Forward, taps: AttentionTaps | None = None) -> None:
        """With `taps`, attention is read in the same pass."""
        self._forward = forward
        self._taps = taps
        self._layers = len(forward.parts.layers)
        self._streams: list[RowStream] = []
        """The streams of rows 0..L, [n, *rest] each."""
        self._model_logits = torch.empty(0)
        """The model's own logits, [n, vocabulary]."""

    def run(self, around: AbstractContextManager[object] | None = None) -> BatchedPass:
        """Run the pass within the context `around`, and return this."""
        with around or nullcontext():
            self._model_logits = self._forward.run(
                lambda row, stream: self._streams.append(stream),
                attached=[] if self._taps is None else [self._taps],
            )
        return self

    def numbers(
        self,
        truths: Sequence[Sequence[int]],
        count: int,
        unnormed: bool,
        groups: Sequence[KeyGroups] = (),
    ) -> BatchNumbers:
        """The numbers of every item.

        `truths` are, for each item, the first token ids of the spellings of its true answer (none
        if it has no truth); `count` is how many top tokens to read. `unnormed` also reads the rows
        without the final norm. `groups`, of each item's keys, are needed if there are taps.
        """
        model_logits, last, parts = self._model_logits, self._layers, self._forward.parts
        with self._forward.evaluating():
            reference = _reference(truths, model_logits)
            computed = self._forward.project([self._streams[last]]).to(model_logits.device)
            return BatchNumbers(
                normed=self._read(range(last + 1), reference, count, norm=True),
                unnormed=self._read(range(last), reference, count, norm=False)
                if unnormed
                else None,
                proofs=errors_and_limits(parts.dtype, computed, model_logits),
                notes=parts.notes,
                unchanged=self._unchanged(),
                method=parts.tail.method,
                attention=None if self._taps is None else BatchAttention(self._taps, groups),
            )

    def gap_to(self, plain: BatchedPass) -> Gap:
        """How far the rows of all items are from the same rows in another pass."""
        worst = NO_GAP
        with self._forward.evaluating():
            size = self._rows_at_once
            for start in range(0, self._layers + 1, size):
                some = range(self._layers + 1)[start : start + size]
                dtype = self._forward.parts.dtype
                found = worst_gap(dtype, self._logits(some, True), plain._logits(some, True))
                worst = worst.joined(found)
        return worst

    def _unchanged(self) -> dict[int, Tensor]:
        """For the rows to which the model may have added something: to which items it added
        nothing, bool [n]."""
        found = {
            row: self._forward.parts.unchanged(row, stream)
            for row, stream in enumerate(self._streams)
        }
        return {row: flags for row, flags in found.items() if flags is not None}

    def _read(self, rows: range, reference: _Reference, count: int, norm: bool) -> Block:
        """The numbers of `rows` for all items, some rows at a time."""
        size = self._rows_at_once
        blocks = []
        for start in range(0, len(rows), size):
            some = rows[start : start + size]
            streams = torch.cat(
                [self._streams[row].stream.to(self._model_logits.device) for row in some]
            )
            logits = self._logits(some, norm)  # [rows * items, vocabulary]
            blocks.append(
                read(logits, count, streams, reference=reference.log_q, spelled=reference.followed)
            )
        return joined(blocks)

    @property
    def _rows_at_once(self) -> int:
        on_cpu = self._model_logits.device.type == "cpu"
        at_once = LOGITS_AT_ONCE_ON_CPU if on_cpu else LOGITS_AT_ONCE
        return max(1, at_once // self._model_logits.numel())

    def _logits(self, rows: range, norm: bool) -> Tensor:
        last = self._layers
        projected = [self._streams[row] for row in rows if row != last]
        pieces = []
        if projected:
            pieces.append(self._forward.project(projected, norm).to(self._model_logits.device))
        if last in rows:
            pieces.append(self._model_logits)
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces)


class _Reference(NamedTuple):
    """What the cells of a batch of n items are compared with, on the device of their logits."""

    log_q: Tensor
    """float32 [n, vocabulary]: log-probabilities of the last row."""
    followed: tuple[Tensor, ...]
    """int64 [n, spellings] each, padded with -1: of each item's truth, and of its answer."""


def _reference(truths: Sequence[Sequence[int]], model_logits: Tensor) -> _Reference:
    most = max([1, *map(len, truths)])
    # Ascending, so that ties go to the lower id.
    filled = [[*sorted(ids), *[-1] * (most - len(ids))] for ids in truths]
    return _Reference(
        model_logits.log_softmax(-1),
        (sent(torch.tensor(filled), model_logits.device), Blocks.of(model_logits).best(1)),
    )


def _rows_of(numbers: Numbers) -> RowNumbers:
    """The fields of `numbers` [n, rows, ...], named as those of a sweep."""
    truth, final = 0, 1
    return RowNumbers(
        top_ids=numbers.ids,
        top_probabilities=numbers.probabilities,
        top_logits=numbers.logits,
        entropy=numbers.entropy,
        kl_to_last=numbers.kl,
        truth_probability=numbers.followed_probabilities[..., truth],
        truth_rank=numbers.followed_ranks[..., truth],
        final_probability=numbers.followed_probabilities[..., final],
        final_rank=numbers.followed_ranks[..., final],
    )
