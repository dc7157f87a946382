"""A worker that reads the attention of a picture of patches, with made numbers."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from engine.arrays import Array
from engine.errors import BadInput
from engine.events import Event, ReadingGrew, ReadingMade, Trouble
from engine.methods.attention import (
    GROUPS,
    AttentionPart,
    AttentionReading,
    AttentionRequest,
    BestHead,
    LayerAttention,
)
from engine.records import ReadingProof, Request
from tests.tui.words_stage import BEFORE, SIDE, WordsWorker, hill, positions_of

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
    made = made / made.sum() * shares_of(layer, layers)[head, 3]
    made[SINK - BEFORE] = 0.3
    return made


def layer_attention(
    layer: int, layers: int, request: AttentionRequest, side: int = SIDE, *, sinks: bool = True
) -> LayerAttention:
    if layer == RECURRENT:
        return LayerAttention(layer, reason="no attention here (recurrent)")
    shares = shares_of(layer, layers)
    without = shares[:, :-1] * np.array([0, 1, 1, 1, 1, 1])
    without = without / without.sum(axis=1, keepdims=True)
    maps = np.stack([map_of(layer, layers, head, side) for head in range(HEADS)])
    maps = maps * {"weight": 1, "contribution": 30, "relative": 100}[request.way]
    chosen = maps if request.heads == "all" else maps.mean(axis=0)
    return LayerAttention(
        layer=layer,
        heads=HEADS,
        shares=Array.of(shares, "<f4"),
        shares_without_sinks=Array.of(without, "<f4") if sinks else None,
        map=Array.of(chosen if side else chosen[..., :0], "<f4"),
        reach=REACH if layer == WINDOWED and side else 0,
        proof=ReadingProof("a row's p V is the function's own", 1e-7, 1e-5, True),
    )


def attention_reading(
    request: AttentionRequest, layers: int, count: int, side: int = SIDE, **changes: Any
) -> AttentionReading:
    """The attention of a position of a prompt of `count` tokens."""
    wanted = request.layers or tuple(range(layers))
    fields: dict[str, Any] = {
        "layers": tuple(layer_attention(layer, layers, request, side) for layer in wanted),
        "sinks": (0, SINK) if side else (),
        "best": (BestHead(7, 2, 0.61, 0.21), BestHead(9, 3, 0.6, 0.42)) if side else (),
        "neutral": "Describe the image." if request.way == "relative" else None,
        "proof": ReadingProof("a row's p V is the function's own", 1e-7, 1e-5, True),
        **changes,
    }
    return AttentionReading(
        request=request,
        position=request.position % count,
        groups=GROUPS,
        cells=Array.of(np.array(positions_of(side * side), np.int32), "<i4"),
        **fields,
    )


def attention_part(
    request: AttentionRequest, layers: range, of: int, count: int, side: int = SIDE
) -> AttentionPart:
    """Some layers, before the sinks are known."""
    return AttentionPart(
        layers=tuple(layer_attention(each, of, request, side, sinks=False) for each in layers),
        position=request.position % count,
        cells=Array.of(np.array(positions_of(side * side), np.int32), "<i4"),
        of=of,
    )


class AttentionWorker(WordsWorker):
    """Answers requests for attention, too: half of the layers come as a part, and the whole after
    it unless `holds_attention` is set."""

    def __init__(self, *given: Any, **settings: Any) -> None:
        super().__init__(*given, **settings)
        self.holds_attention = False

    def read(self, run_id: str, request: Request) -> str:
        if not isinstance(request, AttentionRequest):
            return super().read(run_id, request)
        request_id = f"{len(self.reads):016x}"
        self.reads.append((run_id, request))
        self.read_ids.append(request_id)
        count = self._counts[run_id]
        try:
            made = self.made(request) or attention_reading(request, self.layers, count, self.side)
            last: Event = ReadingMade(run_id, request_id, made)
        except BadInput as error:
            last = Trouble(str(error), run_id, request_id=request_id)
        if not request.layers and isinstance(last, ReadingMade):
            half = range(self.layers // 2)
            part = attention_part(request, half, self.layers, count, self.side)
            self._jobs.put(lambda: self.tell(ReadingGrew(run_id, request_id, part)))
        if not self.holds_attention:
            self._jobs.put(lambda: self.tell(last))
        return request_id
