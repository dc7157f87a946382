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
from engine.lens.readout import best_of, ranks_of, root_mean_square, top_ids_of_rows
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
        normed: RowNumbers,
        unnormed: RowNumbers | None,
        spreads: Tensor,
        gaps: Tensor,
        limits: Tensor,
        notes: Sequence[tuple[str | None, ...]],
        method: TailMethod,
    ) -> None:
        self._notes = notes
        self._method = method
        self._fetched = Fetched([spreads, gaps, limits, *normed, *(unnormed or ())])

    @property
    def are_there(self) -> bool:
        """Whether they were computed at once."""
        return self._fetched.is_there

    def items(self) -> list[ItemNumbers]:
        """Of each item, once they are there."""
        spreads, gaps, limits, *columns = self._fetched.wait()
        count = len(RowNumbers._fields)
        normed, bare = columns[:count], columns[count:]
        return [
            ItemNumbers(
                rows=RowNumbers(*(value[:, item] for value in normed)),
                unnormed=RowNumbers(*(value[:, item] for value in bare)) if bare else None,
                rms=spreads[item],
                notes=self._notes[item],
                proof=as_proof(gap, limit, self._method),
            )
            for item, (gap, limit) in enumerate(
                zip(gaps.nan_to_num(float("inf")).tolist(), limits.tolist(), strict=True)
            )
        ]


class BatchedPass:
    """A pass over n items, read at the last attended token of each."""

    def __init__(self, forward: Forward) -> None:
        self._forward = forward
        self._layers = len(forward.parts.layers)
        self._streams: list[RowStream] = []
        """Rows 0..L, [n, *rest] each."""
        self._own = torch.empty(0)
        """The model's own logits, [n, vocabulary]."""

    def run(self, around: AbstractContextManager[object] | None = None) -> BatchedPass:
        """Run the pass, inside `around`."""
        with around or nullcontext():
            self._own = self._forward.run(lambda row, read: self._streams.append(read))
        return self

    def numbers(self, truths: Sequence[Sequence[int]], count: int, unnormed: bool) -> BatchNumbers:
        """What is kept of every item; `truths` are the ids that begin the truth of each, if any.

        `unnormed`: also without the final norm, which not every model can leave out.
        """
        own, last, parts = self._own, self._layers, self._forward.parts
        with self._forward.evaluating():
            best = _Columns.of(truths, own)
            computed = self._forward.project([self._streams[last]]).to(own.device)
            # Tokens that the model rules out are at minus infinity on both sides.
            gaps = (computed - own).abs().masked_fill(computed == own, 0.0).amax(-1)
            return BatchNumbers(
                normed=self._read(range(last + 1), best, count, norm=True),
                unnormed=self._read(range(last), best, count, norm=False) if unnormed else None,
                spreads=torch.stack(
                    [root_mean_square(read.stream).to(own.device) for read in self._streams], 1
                ),
                gaps=gaps,
                limits=tolerances(parts.dtype, own),
                notes=[self._notes(item) for item in range(len(own))],
                method=parts.tail.method,
            )

    def _notes(self, item: int) -> tuple[str | None, ...]:
        return tuple(
            self._forward.note(row, _of_item(read, item)) for row, read in enumerate(self._streams)
        )

    def _read(self, rows: range, best: _Columns, count: int, norm: bool) -> RowNumbers:
        """Of `rows` and all items, [rows, items, ...]."""
        at_once = LOGITS_AT_ONCE_ON_CPU if self._own.device.type == "cpu" else LOGITS_AT_ONCE
        size = max(1, at_once // self._own.numel())
        parts = [
            self._part(rows[start : start + size], best, count, norm)
            for start in range(0, len(rows), size)
        ]
        return RowNumbers(*(torch.cat(part) for part in zip(*parts, strict=True)))

    def _part(self, rows: range, best: _Columns, count: int, norm: bool) -> RowNumbers:
        items = len(self._own)
        logits = self._logits(rows, norm)
        log_p = logits.log_softmax(-1)
        p = log_p.exp()
        ids = top_ids_of_rows(logits, count)
        final = best.final.repeat(len(rows))
        truths = best.truths.repeat(len(rows), 1)
        entropy = torch.special.entr(p).sum(-1)
        top_probabilities = p.gather(1, ids)
        truth_probability = p.gather(1, truths.clamp_min(0)).masked_fill(truths < 0, 0).sum(-1)
        final_probability = p.gather(1, final.unsqueeze(1)).squeeze(1)
        gaps = log_p.view(len(rows), items, -1).sub_(best.log_q).view_as(p)
        found = RowNumbers(
            top_ids=ids,
            top_probabilities=top_probabilities,
            top_logits=logits.gather(1, ids),
            entropy=entropy,
            kl_to_last=gaps.mul_(p).masked_fill_(p == 0, 0.0).sum(-1).clamp_min(0.0),
            truth_probability=truth_probability,
            truth_rank=ranks_of(logits, best_of(logits, truths)),
            final_probability=final_probability,
            final_rank=ranks_of(logits, final),
        )
        return RowNumbers(*(each.view(len(rows), items, *each.shape[1:]) for each in found))

    def _logits(self, rows: range, norm: bool) -> Tensor:
        last = self._layers
        projected = [self._streams[row] for row in rows if row != last]
        parts = []
        if projected:
            parts.append(self._forward.project(projected, norm).to(self._own.device))
        if last in rows:
            parts.append(self._own)
        return parts[0] if len(parts) == 1 else torch.cat(parts)


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
            sent(torch.tensor(filled), own.device),
            top_ids_of_rows(own, 1)[:, 0],
            own.log_softmax(-1),
        )


def _of_item(read: RowStream, item: int) -> RowStream:
    left = None if read.left is None else read.left[item : item + 1]
    return RowStream(read.stream[item : item + 1], (), left)
