"""A worker that reads the attention of a picture of patches, with made numbers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from math import isqrt
from typing import Any, Final

import numpy as np

from engine.arrays import Array
from engine.events import ReadingGrew, ReadingMade
from engine.methods.attention import (
    AttentionPart,
    AttentionReading,
    AttentionRequest,
    BestHead,
    LayerAttention,
)
from engine.methods.knockout import (
    PANEL,
    KnockoutCell,
    KnockoutPart,
    KnockoutReading,
    KnockoutRequest,
)
from engine.prompts.token_groups import GROUPS
from engine.records import Part, Reading, ReadingProof, Request, Token
from tests.tui.fakes import ANSWER
from tests.tui.words_stage import BEFORE, SIDE, WordsWorker, hill, positions_of

CELLS: Final = positions_of(SIDE * SIDE)
HEADS: Final = 4
SINK: Final = BEFORE + 5
"""A patch that is a sink; token 0 is another."""
RECURRENT: Final = 3
"""A layer without attention."""
WINDOWED: Final = 6
"""A layer with a sliding window."""
REACH: Final = BEFORE + 100


def shares_of(layer: int, layers: int) -> np.ndarray[Any, Any]:
    """float [heads, groups + 1]: the later the layer and the head, the more of it is on the
    picture; the first token has most of the rest, and nowhere a hundredth."""
    rows = []
    for head in range(HEADS):
        picture = 0.05 + 0.6 * layer / layers * (head + 1) / HEADS
        rest = 1 - picture - 0.01
        rows.append([0.6 * rest, 0.1 * rest, 0.05 * rest, picture, 0.2 * rest, 0.05 * rest, 0.01])
    return np.array(rows)


def map_of(layer: int, layers: int, head: int, side: int) -> np.ndarray[Any, Any]:
    """float [side * side]: a hill that wanders with the layer, at another height for each head."""
    made: np.ndarray[Any, Any] = hill(
        side, 0.2 + 0.6 * layer / layers, 0.2 + 0.15 * head, 0.08 + 0.02 * head
    )
    made = made / max(made.sum(), 1e-9) * shares_of(layer, layers)[head, 3]
    made[SINK - BEFORE : SINK - BEFORE + 1] = 0.3
    return made


def layer_attention(
    layer: int, layers: int, request: AttentionRequest, side: int = SIDE, *, sinks: bool = True
) -> LayerAttention:
    if layer == RECURRENT:
        return LayerAttention(layer, reason="no attention here (recurrent)")
    shares = shares_of(layer, layers)
    without = shares[:, :-1] * np.array([0, 1, 1, 1, 1, 1])
    if not sinks:  # none are known yet
        without = shares[:, :-1]
    without = without / without.sum(axis=1, keepdims=True)
    maps = np.stack([map_of(layer, layers, head, side) for head in range(HEADS)])
    maps = maps * {"weight": 1, "contribution": 30, "relative": 100}[request.way]
    chosen = maps if request.heads == "all" else maps.mean(axis=0)
    return LayerAttention(
        layer=layer,
        heads=HEADS,
        shares=Array.of(shares, "<f4"),
        shares_without_sinks=Array.of(without, "<f4"),
        map=Array.of(chosen if side else chosen[..., :0], "<f4"),
        reach=REACH if layer == WINDOWED and side else 0,
        proof=ReadingProof("a row's p V is the function's own", 1e-7, 1e-5, True),
    )


def attention_reading(
    request: AttentionRequest,
    layers: int,
    count: int,
    cells: Sequence[int] = CELLS,
    /,
    **changes: Any,
) -> AttentionReading:
    """The attention of a position of a prompt of `count` tokens, of which `cells` show a square
    picture."""
    wanted = request.layers or tuple(range(layers))
    side = isqrt(len(cells))
    fields: dict[str, Any] = {
        "layers": tuple(layer_attention(layer, layers, request, side) for layer in wanted),
        "sinks": (0, cells[SINK - BEFORE]) if side else (),
        "best": (BestHead(7, 2, 0.61, 0.21), BestHead(9, 3, 0.6, 0.42)) if side else (),
        "neutral": "Describe the image." if request.way == "relative" else None,
        "proof": ReadingProof("a row's p V is the function's own", 1e-7, 1e-5, True),
        **changes,
    }
    return AttentionReading(
        request=request,
        position=request.position % count,
        groups=GROUPS,
        cells=Array.of(np.array(cells, np.int32), "<i4"),
        **fields,
    )


def attention_part(
    request: AttentionRequest, layers: range, of: int, count: int, cells: Sequence[int] = CELLS
) -> AttentionPart:
    """Some layers, before the sinks are known."""
    side = isqrt(len(cells))
    return AttentionPart(
        layers=tuple(layer_attention(each, of, request, side, sinks=False) for each in layers),
        position=request.position % count,
        cells=Array.of(np.array(cells, np.int32), "<i4"),
        of=of,
    )


def knocked_cells(request: KnockoutRequest, layers: int) -> tuple[KnockoutCell, ...]:
    """All layers at once, then windows of two: without the picture the answer is lost in the middle
    layers; without the first token it gains; the last window of that has no attention."""
    pairs = PANEL if not request.sources else ((request.sources[0], "last"),)
    windows = [(0, layers - 1), *((at, min(at + 1, layers - 1)) for at in range(0, layers, 2))]
    cells = []
    for source, target in pairs:
        for first, last in windows:
            middle = (first + last) / 2 / layers
            loss = 5 * float(np.exp(-((middle - 0.55) ** 2) / 0.02))
            loss = {"picture": loss, "question": loss / 4, "first": -0.3}.get(source, loss / 2)
            text, token = (" red", 30) if loss > 1 else (ANSWER[1], ANSWER[0])
            if source == "first" and last == layers - 1 and first:
                reason = "these layers have no attention"
                cells.append(KnockoutCell(source, target, (first, last), reason=reason))
                continue
            answer = Token(token, text, 0.61, 4.0)
            cells.append(KnockoutCell(source, target, (first, last), -0.5 - loss, answer))
    return tuple(cells)


def knockout_reading(request: KnockoutRequest, layers: int, count: int) -> KnockoutReading:
    return KnockoutReading(
        request=request,
        position=request.position % count,
        window=2,
        log_probability=-0.5,
        answer=Token(*ANSWER, 0.6, 5.0),
        cells=knocked_cells(request, layers),
        notes=("the last window has no attention",),
        proof=ReadingProof("a pass in which nothing is forbidden", 1e-6, 1e-3, True),
    )


def knockout_part(request: KnockoutRequest, layers: int, count: int) -> KnockoutPart:
    """The first three cells."""
    made = knockout_reading(request, layers, count)
    cells = made.cells[:3]
    return KnockoutPart(made.position, -0.5, made.answer, cells, 3, len(made.cells))


class AttentionWorker(WordsWorker):
    """Answers requests for attention and knockout, too: some of it comes as a part, and the whole
    after it unless `holds_attention` is set."""

    def __init__(self, *given: Any, **settings: Any) -> None:
        super().__init__(*given, **settings)
        self.holds_attention = False

    def read(self, run_id: str, request: Request) -> str:
        if not isinstance(request, AttentionRequest | KnockoutRequest):
            return super().read(run_id, request)
        request_id = f"{len(self.reads):016x}"
        self.reads.append((run_id, request))
        self.read_ids.append(request_id)
        count, cells = self._counts[run_id], positions_of(self.side**2)
        part: Part | None = None
        made: Reading | None = self.made(request)
        if isinstance(request, KnockoutRequest):
            part = knockout_part(request, self.layers, count)
            made = made or knockout_reading(request, self.layers, count)
        else:
            if not request.layers:
                half = range(self.layers // 2)
                part = attention_part(request, half, self.layers, count, cells)
            made = made or attention_reading(request, self.layers, count, cells)
        if part is not None:
            self._jobs.put(partial(self.tell, ReadingGrew(run_id, request_id, part)))
        if not self.holds_attention:
            self._jobs.put(partial(self.tell, ReadingMade(run_id, request_id, made)))
        return request_id
