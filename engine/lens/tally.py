"""Reads cells from their logits, a part of the vocabulary at a time.

Of every part are kept, for each cell, its largest logit m, the sum of exp(x - m) and the sum of
(x - m) exp(x - m), from which logsumexp and entropy of the whole follow: the online softmax of
Milakov and Gimelshein 2018 (arXiv 1805.02867), with the parts combined at the end. A part stays in
the cache while it is read, and no cell's whole vocabulary is ever in memory.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from engine.anatomy.columns import Columns
from engine.anatomy.logit_map import largest_sizes
from engine.lens.ranking import Blocks

PART = 2**20
"""Logits that are read at once on a CPU: 4 MB of float32."""
PART_ON_DEVICE = 2**25
"""On an accelerator, where every part costs some launches."""
UNBOUNDED = 1e20
"""No finite divergence is so large: the logits of a ruled-out token stand for minus infinity."""
WIDEST = 2**14
"""Ids of a part at most, on a CPU: reading few cells need not be one long step."""


class CellNumbers(NamedTuple):
    """The numbers of n cells, on the device of their logits. NaN where a logit is NaN."""

    ids: Tensor
    """int64 [n, top]: the best tokens, the best one first; ties go to the lower id."""
    logits: Tensor
    """float32 [n, top], like all below."""
    lse: Tensor
    """[n]: logsumexp of all logits."""
    entropy: Tensor
    """[n], in nats."""
    kl: Tensor | None = None
    """[n]: KL(cell || reference), in nats; None without a reference."""
    difference: Tensor | None = None
    """[n]: the largest absolute difference of a logit from the reference's; None without one."""
    size: Tensor | None = None
    """[r]: the largest logit of the reference, by magnitude; None without one."""


@dataclass(frozen=True)
class Reference:
    """Logits with which those of cells are compared."""

    columns: Columns
    """Of r cells; cell i is compared with cell i mod r of them."""
    lse: Tensor
    """float32 [r]: their logsumexp."""


@dataclass
class _Parts:
    """What has been read: a tensor for every part."""

    ids: list[Tensor] = field(default_factory=list)
    """int64 [n, top or fewer]: the best of the part."""
    logits: list[Tensor] = field(default_factory=list)
    """float32 [n, top or fewer]"""
    sums: list[Tensor] = field(default_factory=list)
    """[n]: sum of exp(x - m), m being the part's largest logit."""
    moments: list[Tensor] = field(default_factory=list)
    """[n]: sum of (x - m) exp(x - m)."""
    products: list[Tensor] = field(default_factory=list)
    """[n]: sum of y exp(x - m), y being the reference's logits."""
    differences: list[Tensor] = field(default_factory=list)
    """[n]: largest |x - y|."""
    sizes: list[Tensor] = field(default_factory=list)
    """[r]: largest |y|, of tokens that the model does not rule out."""

    def read(self, x: Tensor, start: int, top: int, y: Tensor | None) -> None:
        """Read a part: `x` [n, ids] from the id `start` on, and the reference's `y` [r, ids]."""
        if top == 1:
            best, ids = x.max(-1, keepdim=True)  # the lowest id among equal logits
        else:
            ids = Blocks.of(x, top).best(top)
            best = x.gather(-1, ids)
        below = x - best[:, :1]
        weights = below.exp()
        self.ids.append(ids + start)
        self.logits.append(best)
        self.sums.append(weights.sum(-1))
        self.moments.append(torch.linalg.vecdot(weights, below))
        if y is not None:
            shape = (-1, *y.shape)  # [n / r, r, ids]
            self.products.append((weights.view(shape) * y).sum(-1).flatten())
            self.differences.append((x.view(shape) - y).abs().amax(-1).flatten())
            self.sizes.append(largest_sizes(y))

    def numbers(self, top: int, reference: Reference | None) -> CellNumbers:
        """The numbers of all parts together."""
        best = torch.stack([each[:, 0] for each in self.logits])  # [parts, n]
        largest = best.amax(0)
        apart = best - largest
        shares = apart.exp()  # [parts, n]
        sums = torch.stack(self.sums) * shares
        total = sums.sum(0)
        # A part of tokens that the model rules out lies infinitely far below, and weighs nothing.
        shifts = torch.where(shares == 0, 0.0, apart * sums)
        moment = (torch.where(shares == 0, 0.0, torch.stack(self.moments) * shares) + shifts).sum(0)
        log_total = total.log()
        lse, entropy = largest + log_total, (log_total - moment / total).clamp_min(0.0)
        kl = difference = size = None
        if reference is not None:
            products = torch.stack(self.products)
            expected = torch.where(shares == 0, 0.0, products * shares).sum(0) / total
            of = reference.lse.repeat(len(lse) // len(reference.lse))
            kl = (of - expected - entropy).clamp_min(0.0)
            # The reference rules out a token that the cell does not.
            kl = torch.where(kl > UNBOUNDED, torch.inf, kl)
            difference = torch.stack(self.differences).amax(0)
            size = torch.stack(self.sizes).amax(0)
        logits, ids = torch.cat(self.logits, -1), torch.cat(self.ids, -1)
        if top == 1:
            place = best.argmax(0, keepdim=True).T  # [n, 1]: the first part among equal ones
        else:
            # Stable: among equal logits the part of lower ids stays first.
            place = logits.sort(dim=-1, descending=True, stable=True).indices[:, :top]
        return CellNumbers(
            ids.gather(-1, place), logits.gather(-1, place), lse, entropy, kl, difference, size
        )


def tallied(
    columns: Columns, cells: int, top: int = 1, reference: Reference | None = None
) -> Generator[None, None, CellNumbers]:
    """Read all logits of `cells` cells; yields after every part, and returns their numbers."""
    parts, width, start = _Parts(), columns.vocabulary, 0
    top = min(top, width)
    while start < width:
        stop = min(start + _ids_at_once(columns, cells), width)
        x = columns.part(start, stop)
        y = None if reference is None else reference.columns.part(start, stop).to(x.device)
        parts.read(x, start, min(top, stop - start), y)
        start = stop
        yield
    return parts.numbers(top, reference)


def _ids_at_once(columns: Columns, cells: int) -> int:
    if columns.device.type == "cpu":
        return max(1, min(PART // cells, WIDEST))
    return max(1, PART_ON_DEVICE // cells)
