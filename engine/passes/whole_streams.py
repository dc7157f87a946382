"""Keeps the residual streams of a pass at many positions, so that any of them can be read later.

The streams of all positions are kept by reference: nothing is copied, since most models write
every layer's result into a new tensor. Where a model adds to its stream in place, the rows are
copied as they pass. Whether a model has done so unexpectedly is seen from the versions of its
tensors, and in inference mode, where they have none, from the sums of their elements.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from torch import Tensor

from engine.anatomy.tail import RowStream
from engine.system.transfers import Fetched

MOST_BYTES: Final = 2**31
"""Of one pass's streams and logits."""
OVERWRITTEN: Final = "the model has changed its streams in place while they were kept"


class WholeStreams:
    """Takes the rows of one pass over a batch of one."""

    def __init__(self, copies: bool, takes_all: bool = True, most_bytes: int = MOST_BYTES) -> None:
        """`copies` for a model that changes its stream in place. Without `takes_all`, only the
        positions that the pass reads are kept."""
        self._copies = copies
        self.takes_all = takes_all
        self._most = most_bytes
        self._rows: list[RowStream] = []
        self._held = 0
        """Bytes of them."""
        self._versions: list[tuple[Tensor, int]] = []
        self._sums: list[tuple[Tensor, Tensor]] = []
        """Kept tensors that have no versions, made in inference mode, and the sums of their
        elements as they were taken."""
        self._same: Fetched | None = None
        """Whether the sums are the same at the end: bool []."""
        self.logits: Tensor | None = None
        """The model's own logits, [positions, vocabulary] in its own dtype."""
        self.positions: tuple[int, ...] = ()
        """The positions that are kept, ascending, once the pass has ended."""
        self._refusal: str | None = None
        self.is_too_much = False
        """Whether that is because it would take too much memory."""

    @property
    def refusal(self) -> str | None:
        """Why nothing is kept; None if it is. Waits, at the end, until the device knows whether a
        kept stream was changed in place."""
        if self._same is not None:
            (same,) = self._same.wait()
            self._same = None
            if not bool(same):
                self._refuse(OVERWRITTEN)
        return self._refusal

    def _refuse(self, why: str) -> None:
        self._refusal = why
        self._rows, self.logits, self.positions = [], None, ()

    def begin(self, stream: Tensor, layers: int, vocabulary_bytes: int) -> None:
        """Refuse to keep more than is allowed, before anything is; `stream` is that of row 0,
        [positions, *rest], `vocabulary_bytes` the size of the logits of one position."""
        self._check(stream.nbytes * (layers + 1) + vocabulary_bytes * len(stream), len(stream))

    def take(self, read: RowStream) -> None:
        """Keep the next row; tensors are [positions, *rest]."""
        if self._refusal is not None:
            return
        if self._copies and self.takes_all:
            read = read.mapped(Tensor.clone)
        else:
            for each in (read.stream, *read.companions):
                if not each.is_inference():
                    self._versions.append((each, each._version))
                elif self.takes_all:
                    self._sums.append((each, _sum(each)))
        self._rows.append(read)
        before = read.before_addition
        self._held += sum(
            each.nbytes
            for each in (read.stream, *read.companions, *([] if before is None else [before]))
        )
        self._check(self._held, len(read.stream))

    def end(self, logits: Tensor, positions: Tensor) -> None:
        """Keep the model's own logits, [positions, vocabulary], by reference; `positions` are
        int64 [positions]."""
        if self._refusal is None and self._rows:
            self._check(self._held + logits.nbytes, len(logits))
        if any(tensor._version != version for tensor, version in self._versions):
            self._refuse(OVERWRITTEN)
        if self._sums:
            before = torch.stack([taken.to(logits.device) for _, taken in self._sums])
            now = torch.stack([_sum(tensor).to(logits.device) for tensor, _ in self._sums])
            self._same = Fetched([(before == now).all()])
        self._versions, self._sums = [], []
        if self._refusal is not None:
            self._refuse(self._refusal)
            return
        order = torch.from_numpy(np.unique(positions.numpy(), return_index=True)[1])
        self.positions = tuple(positions[order].tolist())
        self.logits = logits
        if not self.takes_all:
            self._rows = [_reordered(row, order) for row in self._rows]
            self.logits = logits[order.to(logits.device)]

    @property
    def rows(self) -> tuple[RowStream, ...]:
        """Rows 0..L, once the pass has ended; none if they are not kept."""
        return tuple(self._rows)

    def _check(self, size: int, positions: int) -> None:
        if size > self._most:
            self.is_too_much = True
            self._refusal = too_much(positions, size, self._most)


def too_much(positions: int, size: int, most: int) -> str:
    """What to say where the streams of so many positions, of `size` bytes, are not kept."""
    return (
        f"all {positions:,} positions would take {size / 2**30:.1f} GB of memory "
        f"(at most {most / 2**30:.0f} GB are used)"
    )


def _reordered(read: RowStream, order: Tensor) -> RowStream:
    return read.mapped(lambda tensor: tensor[order.to(tensor.device)])


def _sum(tensor: Tensor) -> Tensor:
    """The bits of the sum of all elements: int32 [], the same for the same elements."""
    return tensor.sum(dtype=torch.float32).view(torch.int32)
