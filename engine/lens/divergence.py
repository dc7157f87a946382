"""KL and Jensen-Shannon divergence of two next-token distributions, row by row, in nats."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from engine.anatomy.tail import RowStream
from engine.lens.kept import KeptStream, sent_together
from engine.lens.readout import Block, joined, read
from engine.passes.forward import Project
from engine.passes.inference import inferring
from engine.records import ComparisonRow, finite
from engine.stays import first_that_stays
from engine.system.transfers import Fetched, sent

THRESHOLD = 0.1
"""Above this Jensen-Shannon divergence, in nats, a picture counts as seen."""
CHUNK = 8
"""How many rows are compared at a time: 5 MB of float32 for a vocabulary of 150,000."""

LogitsOfRows = Callable[[Sequence[int]], Tensor]
"""f(row numbers) -> their logits [n, vocabulary]."""


class Divergences(NamedTuple):
    """The divergences of n pairs of distributions, float32 [n] each."""

    kl: Tensor
    """KL(p || q); infinite if q rules out a token that p does not."""
    js: Tensor
    """Jensen-Shannon divergence, 0 to ln 2."""


def divergences(p_logits: Tensor, q_logits: Tensor) -> Divergences:
    """The divergences of softmax(p_logits) and softmax(q_logits), both [n, vocabulary].

    Exactly 0 for equal logits, NaN for a row that holds a NaN. Raises ValueError if the shapes
    differ.
    """
    found = _compared(p_logits, q_logits).numbers()
    return Divergences(found.kl, found.js)


def _compared(p_logits: Tensor, q_logits: Tensor) -> Block:
    """As `divergences`, perhaps still being computed on the device."""
    if p_logits.shape != q_logits.shape:
        raise ValueError(f"{list(p_logits.shape)} and {list(q_logits.shape)} cannot be compared")
    reference = q_logits.to(p_logits.device).float().log_softmax(-1)
    return read(p_logits.float(), reference=reference, js=True)


class StreamingDivergence:
    """Compares the rows of a counterfactual with those of the picture's run while they come in.

    Only what `picture` needs to recompute its logits has to be kept. Can be fed from any thread.
    """

    def __init__(self, picture: LogitsOfRows) -> None:
        self._picture = picture
        self._lock = threading.Lock()
        self._rows: dict[int, ComparisonRow] = {}

    def feed(self, layers: Sequence[int], logits: Tensor) -> tuple[ComparisonRow, ...]:
        """Compare the counterfactual's rows `layers`; their `logits` are [n, vocabulary]."""
        return self.launch(layers, logits)()

    def launch(
        self, layers: Sequence[int], logits: Tensor
    ) -> Callable[[], tuple[ComparisonRow, ...]]:
        """Begin as `feed` does, and return what ends it; this waits for no device."""
        blocks = []
        for start in range(0, len(layers), CHUNK):
            some = layers[start : start + CHUNK]
            blocks.append(_compared(self._picture(some), logits[start : start + CHUNK]))
        block = joined(blocks)
        fetched = Fetched([block.values])

        def collect() -> tuple[ComparisonRow, ...]:
            (values,) = fetched.wait()
            found = block._replace(values=values).numbers()
            made = tuple(
                ComparisonRow(layer=layer, kl=finite(kl), js=finite(js))
                for layer, kl, js in zip(layers, found.kl.tolist(), found.js.tolist(), strict=True)
            )
            with self._lock:
                self._rows.update((row.layer, row) for row in made)
            return made

        return collect

    @property
    def rows(self) -> tuple[ComparisonRow, ...]:
        """The rows that have been compared so far, by ascending layer."""
        with self._lock:
            return tuple(self._rows[layer] for layer in sorted(self._rows))


def kept_logits(kept: KeptStream) -> LogitsOfRows:
    """A function that recomputes the logits of any rows of a finished pass.

    It takes the model's lock, so a running pass of the same model must not call it: see
    `kept_logits_through`.
    """

    def project(streams: Sequence[RowStream]) -> Tensor:
        with kept.lock, inferring(kept.model):
            return kept.project(streams)

    return kept_logits_through(kept, project)


def kept_logits_through(kept: KeptStream, project: Project) -> LogitsOfRows:
    """As `kept_logits`, but through `project`, such as that of the pass that is running."""
    last = len(kept.readings) - 1

    def read(rows: Sequence[int]) -> Tensor:
        found: dict[int, Tensor] = {}
        if last in rows:
            found[last] = sent(kept.model_logits, kept.device)[0]
        projected = [row for row in dict.fromkeys(rows) if row != last]
        if projected:
            streams = [kept.streams[row] for row in projected]
            logits = project(sent_together(streams, kept.device))
            found.update(zip(projected, logits.to(kept.device), strict=True))
        return torch.stack([found[row] for row in rows])

    return read


def compare_passes(
    layers: Sequence[int], picture: LogitsOfRows, other: LogitsOfRows
) -> tuple[ComparisonRow, ...]:
    """Compare rows of two finished passes, `CHUNK` rows at a time; as `StreamingDivergence`."""
    comparing = StreamingDivergence(picture)
    for start in range(0, len(layers), CHUNK):
        some = layers[start : start + CHUNK]
        comparing.feed(some, other(some))
    return comparing.rows


def picture_layer(js: Sequence[float | None], threshold: float = THRESHOLD) -> int | None:
    """The first row from which the divergence `js` stays above the threshold, or None."""
    return first_that_stays([value is not None and value > threshold for value in js])
