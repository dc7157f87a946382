"""How far two next-token distributions are apart, row by row: KL and Jensen-Shannon, in nats."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from engine.anatomy.hooks import evaluating
from engine.anatomy.tail import RowStream
from engine.lens.kept import KeptStream
from engine.lens.readout import joined, read
from engine.passes.forward import Project
from engine.records import ComparisonRow, finite
from engine.stays import first_that_stays

THRESHOLD = 0.1
"""Nats of Jensen-Shannon divergence from which a picture counts as seen."""
CHUNK = 8
"""Rows that are compared at a time: of 150,000 tokens, 5 MB a piece."""

LogitsOfRows = Callable[[Sequence[int]], Tensor]
"""From rows' numbers to their logits [n, vocabulary]."""


class Divergences(NamedTuple):
    """Of n pairs of distributions, float32 [n] each."""

    kl: Tensor
    """KL(p || q); infinite where q never gives what p gives."""
    js: Tensor
    """Jensen-Shannon, 0 to ln 2."""


def divergences(p_logits: Tensor, q_logits: Tensor) -> Divergences:
    """Between softmax(p_logits) and softmax(q_logits), [n, vocabulary] each.

    NaN where a row holds one. The two are the same where the logits are, to the last bit.
    """
    if p_logits.shape != q_logits.shape:
        raise ValueError(f"{list(p_logits.shape)} and {list(q_logits.shape)} cannot be compared")
    blocks = [
        read(p.float(), reference=q.to(p.device).float().log_softmax(-1), js=True)
        for p, q in zip(p_logits.split(CHUNK), q_logits.split(CHUNK), strict=True)
    ]
    found = joined(blocks).numbers()
    return Divergences(found.kl, found.js)


class StreamingDivergence:
    """A picture's rows against those of a counterfactual as these come, from whatever thread.

    Of the picture's pass no more need be kept than `picture` takes its rows' logits from.
    """

    def __init__(self, picture: LogitsOfRows) -> None:
        self._picture = picture
        self._lock = threading.Lock()
        self._rows: dict[int, ComparisonRow] = {}

    def feed(self, layers: Sequence[int], logits: Tensor) -> tuple[ComparisonRow, ...]:
        """Compare the counterfactual's rows `layers`, whose logits are [n, vocabulary]."""
        made: list[ComparisonRow] = []
        for start in range(0, len(layers), CHUNK):
            some = layers[start : start + CHUNK]
            found = divergences(self._picture(some), logits[start : start + CHUNK])
            made += [
                ComparisonRow(layer=layer, kl=finite(kl), js=finite(js))
                for layer, kl, js in zip(some, found.kl.tolist(), found.js.tolist(), strict=True)
            ]
        with self._lock:
            self._rows.update((row.layer, row) for row in made)
        return tuple(made)

    @property
    def rows(self) -> tuple[ComparisonRow, ...]:
        """What has been compared so far, in the order of the layers."""
        with self._lock:
            return tuple(self._rows[layer] for layer in sorted(self._rows))


def kept_logits(kept: KeptStream) -> LogitsOfRows:
    """Any rows' logits of a pass that has ended. Not to be called by another pass of the model,
    which holds the model: see `kept_logits_through`."""

    def project(streams: Sequence[RowStream]) -> Tensor:
        with kept.lock, evaluating(kept.model):
            return kept.project(streams)

    return kept_logits_through(kept, project)


def kept_logits_through(kept: KeptStream, project: Project) -> LogitsOfRows:
    """Any rows' logits of a pass that has ended, its streams taken through a tail that the caller
    has at hand, such as that of the pass that runs."""
    last = len(kept.readings) - 1

    def read(rows: Sequence[int]) -> Tensor:
        found: dict[int, Tensor] = {last: kept.model_logits.to(kept.device)[0]}
        projected = [row for row in dict.fromkeys(rows) if row != last]
        if projected:
            logits = project([kept.streams[row] for row in projected])
            found.update(zip(projected, logits.to(kept.device), strict=True))
        return torch.stack([found[row] for row in rows])

    return read


def compare_passes(
    layers: Sequence[int], picture: LogitsOfRows, other: LogitsOfRows
) -> tuple[ComparisonRow, ...]:
    """Two passes that have both ended, `CHUNK` rows of each at a time."""
    comparing = StreamingDivergence(picture)
    for start in range(0, len(layers), CHUNK):
        some = layers[start : start + CHUNK]
        comparing.feed(some, other(some))
    return comparing.rows


def picture_layer(js: Sequence[float | None], threshold: float = THRESHOLD) -> int | None:
    """The first row from which the divergence stays above the threshold to the end, or None."""
    return first_that_stays([value is not None and value > threshold for value in js])
