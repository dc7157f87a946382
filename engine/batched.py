"""One pass over a batch, its rows read when it is over: for sweeps, where nobody watches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from engine.forward import Forward
from engine.logit_map import tolerance
from engine.proving import as_proof
from engine.readout import best_of, ranks_of, root_mean_square, top_ids_of_rows
from engine.records import Proof
from engine.tail import CHUNK, RowStream

ROWS_AT_ONCE = 4 * CHUNK
"""Rows times items whose logits are held at a time: of 150,000 tokens, 150 MB."""


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


class BatchedPass:
    """A pass over n items, read at the last attended token of each."""

    def __init__(self, forward: Forward, layers: int) -> None:
        self._forward = forward
        self._layers = layers
        self.streams: list[RowStream] = []
        """Rows 0..L, [n, *rest] each."""
        self.own = torch.empty(0)
        """The model's own logits, [n, vocabulary]."""

    def run(self, around: AbstractContextManager[object] | None = None) -> BatchedPass:
        """Run the pass, inside `around`."""
        with around or nullcontext():
            self.own = self._forward.run(lambda row, read: self.streams.append(read))
        return self

    def numbers(
        self, truths: Sequence[Sequence[int]], count: int, unnormed: bool
    ) -> list[ItemNumbers]:
        """What is kept of every item; `truths` are the ids that begin the truth of each, if any.

        `unnormed`: also without the final norm, which not every model can leave out.
        """
        with self._forward.evaluating():
            last = self._layers
            best = _Columns.of(truths, self.own)
            computed = self._forward.project([self.streams[last]])
            proofs = self._proofs(computed.to(self.own.device))
            normed = self._read(range(last + 1), best, count, norm=True)
            bare = self._read(range(last), best, count, norm=False) if unnormed else None
            spreads = torch.stack(
                [root_mean_square(read.stream).to(self.own.device) for read in self.streams], 1
            ).cpu()
        items = len(self.own)
        notes = [
            [self._forward.note(row, _of_item(read, item)) for row, read in enumerate(self.streams)]
            for item in range(items)
        ]
        return [
            ItemNumbers(
                rows=RowNumbers(*(value[:, item] for value in normed)),
                unnormed=None if bare is None else RowNumbers(*(value[:, item] for value in bare)),
                rms=spreads[item],
                notes=tuple(notes[item]),
                proof=proofs[item],
            )
            for item in range(items)
        ]

    def _proofs(self, computed: Tensor) -> list[Proof]:
        gaps = (computed - self.own).abs()
        # Tokens that the model rules out are at minus infinity on both sides.
        gaps = gaps.masked_fill(computed == self.own, 0.0).amax(-1)
        dtype, tail = self._forward.parts.dtype, self._forward.parts.tail
        return [
            as_proof(gap, tolerance(dtype, own), tail)
            for gap, own in zip(gaps.nan_to_num(float("inf")).tolist(), self.own, strict=True)
        ]

    def _read(self, rows: range, best: _Columns, count: int, norm: bool) -> RowNumbers:
        """Of `rows` and all items, [rows, items, ...]."""
        size = max(1, ROWS_AT_ONCE // len(self.own))
        parts = [
            self._part(rows[start : start + size], best, count, norm)
            for start in range(0, len(rows), size)
        ]
        return RowNumbers(*(torch.cat(part) for part in zip(*parts, strict=True)))

    def _part(self, rows: range, best: _Columns, count: int, norm: bool) -> RowNumbers:
        items = len(self.own)
        logits = torch.cat(list(self._logits(rows, norm)))
        log_p = logits.log_softmax(-1)
        p = log_p.exp()
        log_q = best.log_q.repeat(len(rows), 1)
        ids = top_ids_of_rows(logits, count)
        final = best.final.repeat(len(rows))
        truths = best.truths.repeat(len(rows), 1)
        found = RowNumbers(
            top_ids=ids,
            top_probabilities=p.gather(1, ids),
            top_logits=logits.gather(1, ids),
            entropy=torch.special.entr(p).sum(-1),
            kl_to_last=torch.where(p > 0, p * (log_p - log_q), 0.0).sum(-1).clamp_min(0.0),
            truth_probability=p.gather(1, truths.clamp_min(0)).masked_fill(truths < 0, 0).sum(-1),
            truth_rank=ranks_of(logits, best_of(logits, truths)),
            final_probability=p.gather(1, final.unsqueeze(1)).squeeze(1),
            final_rank=ranks_of(logits, final),
        )
        return RowNumbers(*(each.cpu().view(len(rows), items, *each.shape[1:]) for each in found))

    def _logits(self, rows: range, norm: bool) -> Iterator[Tensor]:
        last = self._layers
        projected = [row for row in rows if row != last]
        if projected:
            logits = self._forward.project([self.streams[row] for row in projected], norm)
            yield logits.to(self.own.device)
        if last in rows:
            yield self.own


class _Columns(NamedTuple):
    """What the rows of n items are compared with, on the device of the logits."""

    truths: Tensor
    """[n, most spellings], filled up with -1."""
    final: Tensor
    """[n]: the model's answer."""
    log_q: Tensor
    """[n, vocabulary]: log-probabilities of the last row."""

    @classmethod
    def of(cls, truths: Sequence[Sequence[int]], own: Tensor) -> _Columns:
        most = max([1, *map(len, truths)])
        # Ascending, so that of equal logits the lower id counts.
        filled = [[*sorted(ids), *[-1] * (most - len(ids))] for ids in truths]
        return cls(
            torch.tensor(filled, device=own.device),
            top_ids_of_rows(own, 1)[:, 0],
            own.log_softmax(-1),
        )


def _of_item(read: RowStream, item: int) -> RowStream:
    left = None if read.left is None else read.left[item : item + 1]
    return RowStream(read.stream[item : item + 1], (), left)
