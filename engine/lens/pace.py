"""How many rows of a pass go through the tail together, and which way on a CPU.

The head is the largest matrix of most models, and a pass reads it several times: the number of rows
that are read together, and the way in which the product is written, decide what that costs. What is
fast depends on the processor, the dtype and the size, so it is measured.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from engine.anatomy.columns import is_one_matrix
from engine.anatomy.explicit import ExplicitTail
from engine.anatomy.tail import Tail

MAX_WAIT = 0.45
"""How long a row may wait for others to be projected together with it, in seconds."""
LEAST = 2**22
"""Elements of a head: smaller ones stay in the cache, and take as long in every way."""
LONG = 0.1
"""Seconds; what takes longer is tried once."""
GAIN = 0.8
"""Another way than the model's own must take less than this share of its time: numbers differ by
rounding between ways, so the choice should be the same every time."""


def rows_together(layers: int) -> int:
    """How many rows go through the tail together at most: no row waits longer than a quarter of the
    layers."""
    return max(1, layers // 4)


@dataclass
class Pace:
    """What is known of the passes of one model and kind of inputs."""

    most: int | None = None
    """How many rows are best read together, as measured; None if it was not."""
    _seconds: deque[float] = field(default_factory=lambda: deque(maxlen=2), init=False)
    """What a layer took at one position in the last two passes."""

    def rows(self, layers: int, positions: int) -> int:
        """How many rows of a pass go through the tail together.

        The thread of a pass sees how long a row has waited, except on an accelerator, of which it
        is ahead: there the last passes tell, of which the first one also loads kernels. A longer
        pass takes at most as much longer as it has more positions, as far as rows are concerned:
        attention is the smaller part.
        """
        together = rows_together(layers)
        if self.most is not None:
            together = min(together, self.most)
        if len(self._seconds) < 2:
            return together
        layer = min(self._seconds) * positions
        return max(1, min(together, int(MAX_WAIT / max(layer, 1e-9))))

    def passed(self, layers: int, positions: int, seconds: float) -> None:
        """Note how long a pass took on an accelerator."""
        if layers and positions:
            self._seconds.append(seconds / (layers * positions))


def measured(tail: Tail, layers: int) -> tuple[Tail, Pace]:
    """The tail in the way in which a CPU takes a group of rows through its head fastest, and the
    size of such groups; the tail as it is where there is nothing to choose.

    The ways are the head's own product, the same written the other way round (see `few_logits`),
    and row by row.
    """
    if not isinstance(tail, ExplicitTail) or tail.device.type != "cpu":
        return tail, Pace()
    weight = tail.head.weight
    if (
        tail.position_axis != 1
        or len(tail.stream_shape) != 1
        or not is_one_matrix(tail.head)
        or not isinstance(weight, Tensor)
        or weight.numel() < LEAST
    ):
        return tail, Pace()
    together = rows_together(layers)
    turned = replace(tail, few=together)
    alone, own, other = (
        _seconds(each, weight, rows) / rows
        for each, rows in ((tail, 1), (tail, together), (turned, together))
    )
    if other < GAIN * min(own, alone):
        return turned, Pace(together)
    return tail, Pace(1 if alone < GAIN * own else together)


def _seconds(tail: ExplicitTail, weight: Tensor, rows: int) -> float:
    """What the head takes for so many rows: the best of a few tries."""
    noise = torch.Generator().manual_seed(0)
    hidden = torch.randn(1, rows, weight.shape[1], generator=noise).to(weight.dtype)
    best = float("inf")
    for _ in range(3):
        began = time.perf_counter()
        with torch.no_grad():
            tail.raw_logits(hidden)
        best = min(best, time.perf_counter() - began)
        if best > LONG:
            break
    return best
