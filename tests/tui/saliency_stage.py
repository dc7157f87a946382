"""A worker that reads the saliency of a picture of patches, with made numbers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from math import isqrt
from typing import Any, Final

import numpy as np

from engine.arrays import Array
from engine.events import ReadingDropped, ReadingGrew, ReadingMade
from engine.methods.saliency import Curves, SaliencyPart, SaliencyReading, SaliencyRequest
from engine.records import ReadingProof, Request, Token
from tests.tui.fakes import ANSWER
from tests.tui.parts_stage import RUNNER_UP
from tests.tui.words_stage import WordsWorker, hill, positions_of

PLACES: Final = {
    "gradient": (0.3, 0.4), "ig": (0.35, 0.4), "smoothgrad": (0.4, 0.4), "attention": (0.6, 0.6),
    "occlusion": (0.5, 0.5),
}  # fmt: skip
PASSES: Final = 8


def map_of(request: SaliencyRequest, side: int) -> np.ndarray[Any, Any]:
    """float [side * side]: a hill, and but for attention a hollow beside it."""
    x, y = PLACES[request.way]
    found = 0.04 * hill(side, x, y)
    if request.way != "attention":
        found = found - 0.02 * hill(side, x + 0.3, y + 0.3)
    return found


def curves(request: SaliencyRequest) -> Curves:
    better = len(request.way) / 100
    points = Array.of(np.linspace(0, 1, 5), "<f4")
    return Curves(0.5 + better, 0.3 - better, 0.45, 0.35, points, points, points)


def saliency_reading(
    request: SaliencyRequest, layers: int, count: int, cells: Sequence[int], **changes: Any
) -> SaliencyReading:
    """The saliency of a prompt of `count` tokens, of which `cells` show a square picture: of the
    answer's logit minus the runner-up's, or of words."""
    side = isqrt(len(cells))
    values = map_of(request, side) if side else np.zeros(0)
    positions = matrix = None
    if request.row is not None or request.way == "attention":
        whole = 0.1 * np.sin(np.arange(count))
        whole[[*cells]] = values
        positions = Array.of(whole, "<f4")
    if request.matrix:
        row = np.arange(layers + 1)[:, None] / layers
        grid = np.sin(np.arange(count) + 3 * row) * 0.01
        grid[:, [*cells]] = values * (1 - row)
        grid[:, -1] = 0.3 * row[:, 0]
        matrix = Array.of(grid, "<f4")
    texts = [f" {word}" for word in request.of] or [ANSWER[1], RUNNER_UP[1]]
    sampled = request.way in ("ig", "smoothgrad")
    fields: dict[str, Any] = {
        "of": tuple(
            Token(ANSWER[0] + at, text, 0.6 - 0.5 * at, 5.0 - 1.8 * at)
            for at, text in enumerate(texts)
        ),
        "value": -0.51 if len(texts) == 1 else 1.8,
        "cells": Array.of(np.array(cells, np.int32), "<i4"),
        "map": Array.of(values, "<f4"),
        "positions": positions,
        "matrix": matrix,
        "completeness": 0.012 if request.way == "ig" else None,
        "baseline": -3.2 if request.way in ("ig", "occlusion") else None,
        "steps": request.steps if sampled else 1,
        "curves": curves(request) if request.compare else None,
        "proof": ReadingProof("the pass's logits are those of the run", 1e-6, 1e-3, True),
        **changes,
    }
    return SaliencyReading(request=request, position=request.position % count, **fields)


def saliency_part(request: SaliencyRequest, cells: Sequence[int], done: int) -> SaliencyPart:
    """What is known after some of the passes: of occlusion so many blocks, of others a mean."""
    side = isqrt(len(cells))
    values = map_of(request, side)
    if request.way == "occlusion":
        values[len(cells) * done // PASSES :] = np.nan
    found = Array.of(np.array(cells, np.int32), "<i4")
    return SaliencyPart(found, Array.of(values, "<f4"), done, PASSES)


class SaliencyWorker(WordsWorker):
    """Answers requests for saliency, too: but for single passes parts come first, and the whole
    after them unless `holds_saliency` is set."""

    def __init__(self, *given: Any, **settings: Any) -> None:
        super().__init__(*given, **settings)
        self.holds_saliency = False

    def read(self, run_id: str, request: Request) -> str:
        if not isinstance(request, SaliencyRequest):
            return super().read(run_id, request)
        request_id = f"{len(self.reads):016x}"
        self.reads.append((run_id, request))
        self.read_ids.append(request_id)
        self._jobs.put(partial(self._saliency, run_id, request_id, request))
        return request_id

    def _saliency(self, run_id: str, request_id: str, request: SaliencyRequest) -> None:
        count, cells = self._counts[run_id], positions_of(self.side**2)
        if request.way not in ("gradient", "attention"):
            for done in (2, 4, 6):
                part = saliency_part(request, cells, done)
                self.tell(ReadingGrew(run_id, request_id, part))
        if self.holds_saliency:
            return
        if request_id in self.cancelled_readings:
            self.tell(ReadingDropped(run_id, request_id))
            return
        made = self.made(request) or saliency_reading(request, self.layers, count, cells)
        self.tell(ReadingMade(run_id, request_id, made))
