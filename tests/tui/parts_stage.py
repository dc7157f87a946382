"""A worker that takes logits apart, with made numbers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Final

import numpy as np
from msgspec.structs import replace

from engine.arrays import Array
from engine.errors import BadInput
from engine.events import ReadingDropped, ReadingGrew, ReadingMade, Trouble
from engine.methods.logit_asked import Pushed
from engine.methods.parts import (
    PartShare,
    PartsPart,
    PartsReading,
    PartsRequest,
    Sent,
    part_name,
)
from engine.records import ReadingProof, Request, Token
from tests.tui.fakes import ANSWER, WORDS
from tests.tui.words_stage import BEFORE, WordsWorker, hill

HEADS: Final = 4
WHOLE: Final = 3
"""A layer that is one part."""
RUNNER_UP: Final = (18, " sphere")
PASSES: Final = 1e-5
EXPECTED_ERROR: Final = 1.2e-6


def pushed(seed: int, sign: int = 1, words: Sequence[str] = WORDS) -> tuple[Pushed, ...]:
    return tuple(
        Pushed(100 + at, words[(seed + at) % len(words)], sign * (1.5 - 0.3 * at))
        for at in range(5)
    )


def share_of(layer: int, name: str) -> float:
    """Late MLPs write the answer, early attentions write against it."""
    return 0.09 * layer if name == "MLP" else 0.25 * float(np.sin(1.7 * layer))


def shares(request: PartsRequest, layers: int, words: Sequence[str]) -> list[PartShare]:
    less = 0.5 if request.against else 0.0
    found = [PartShare(None, "embedding", 0.02, promotes=pushed(0, words=words))]
    for layer in range(layers):
        if layer == layers // 2:
            found.append(PartShare(layer, f"added before row {layer}", 0.11))
        if layer == WHOLE:
            reason = "the stream is normed after every addition"
            found.append(PartShare(layer, "whole layer", -0.4, reason=reason))
            continue
        found += [
            PartShare(
                layer,
                name,
                share_of(layer, name) * (1 - less),
                promotes=pushed(layer + 5 * at, words=words),
                suppresses=pushed(layer + 5 * at + 3, -1, words),
            )
            for at, name in enumerate(("attention", "MLP"))
        ]
    return [*found, PartShare(None, "bias", 0.0)]


def head_shares(request: PartsRequest, layers: int, words: Sequence[str]) -> list[PartShare]:
    """The heads of a layer sum to its attention's share; the first ones write against it."""
    found = []
    for layer in range(layers):
        if layer == WHOLE:
            continue
        whole = share_of(layer, "attention")
        mine = [-0.1, 0.3, -0.2, whole]
        mine[1] -= sum(mine) - whole
        found += [
            PartShare(
                layer,
                "attention",
                share,
                head,
                promotes=pushed(layer + head, words=words),
                suppresses=pushed(layer + head + 3, -1, words),
            )
            for head, share in enumerate(mine)
        ]
    return found


def sent_of(request: PartsRequest, count: int, side: int) -> Sent | None:
    """The patches at one side of the picture speak for the answer, those at the other against."""
    if request.layer is None or request.head is None:
        return None
    sent = np.zeros(count, np.float32)
    sent[0] = -0.05
    if side:
        place = 0.2 + 0.2 * request.head
        map_of = hill(side, place, 0.3) - 0.6 * hill(side, 1 - place, 0.7)
        sent[BEFORE : BEFORE + side * side] = 0.3 * map_of / np.abs(map_of).sum()
    sent[-2] = 0.12
    share = float(sent.sum())
    return Sent(request.layer, request.head, "tokens", share, Array.of(sent, "<f4"), 2e-8)


def parts_reading(
    request: PartsRequest,
    layers: int,
    count: int,
    side: int = 0,
    words: Sequence[str] = WORDS,
    /,
    **changes: Any,
) -> PartsReading:
    """The parts of the answer's logit minus the runner-up's, or of words'."""
    texts = [f" {word}" for word in request.of] or [ANSWER[1], RUNNER_UP[1]]
    if request.against and not request.of:
        texts = texts[:1]
    of = tuple(Token(17 + at, text, 0.5 - 0.1 * at, 5.0 - at) for at, text in enumerate(texts))
    parts = shares(request, layers, words)
    heads = head_shares(request, layers, words) if request.heads else []
    for some in (parts, heads):
        able = [each for each in some if each.layer is not None and "before" not in each.name]
        able.sort(key=lambda each: -abs(each.share or 0.0))
        out = [*able[: request.ablate], *(e for e in able if part_name(e) == request.without)]
        some[:] = [
            replace(each, effect=0.4 * (each.share or 0.0) - 0.1) if each in out else each
            for each in some
        ]
        if request.layer is not None or request.without:
            about = {f"{request.layer}.{request.head}", request.without}
            some[:] = [
                each if part_name(each) in about else replace(each, promotes=(), suppresses=())
                for each in some
            ]
        if request.without and not out and some is parts and not heads:
            raise BadInput(f"no part that can be taken out is called {request.without!r}")
    fields: dict[str, Any] = {
        "value": sum(each.share or 0.0 for each in parts),
        "error": EXPECTED_ERROR,
        "proof": ReadingProof("the sum of all parts", EXPECTED_ERROR, PASSES, True),
        "against": "0" * 16 if request.against else None,
        **changes,
    }
    return PartsReading(
        request=request,
        position=request.position % count,
        of=of,
        parts=tuple(parts),
        heads=tuple(heads),
        sent=sent_of(request, count, side),
        **fields,
    )


def parts_part(made: PartsReading, done: int, orders: int) -> PartsPart:
    """The parts without their words, and the first `done` effects."""
    left = done

    def grown(each: PartShare) -> PartShare:
        nonlocal left
        keeps = each.effect is not None and left > 0
        left -= keeps
        return replace(each, promotes=(), suppresses=(), effect=each.effect if keeps else None)

    parts = tuple(map(grown, made.parts))
    return PartsPart(made.position, made.of, parts, tuple(map(grown, made.heads)), done, orders)


class PartsWorker(WordsWorker):
    """Answers requests for parts, too. What is taken out comes in a part first, and the whole after
    it unless `holds_parts` is set."""

    def __init__(self, *given: Any, **settings: Any) -> None:
        super().__init__(*given, **settings)
        self.holds_parts = False

    def read(self, run_id: str, request: Request) -> str:
        if not isinstance(request, PartsRequest):
            return super().read(run_id, request)
        request_id = f"{len(self.reads):016x}"
        self.reads.append((run_id, request))
        self.read_ids.append(request_id)
        self._jobs.put(partial(self._parts, run_id, request_id, request))
        return request_id

    def _parts(self, run_id: str, request_id: str, request: PartsRequest) -> None:
        words = WORDS if self.words is None else self.words
        try:
            made = self.made(request) or parts_reading(
                request, self.layers, self._counts[run_id], self.side, words
            )
        except BadInput as error:
            self.tell(Trouble(str(error), run_id, request_id=request_id))
            return
        orders = request.ablate or bool(request.without)
        if orders and isinstance(made, PartsReading):
            part = parts_part(made, 1, int(orders))
            self.tell(ReadingGrew(run_id, request_id, part))
        if request_id in self.cancelled_readings:
            self.tell(ReadingDropped(run_id, request_id))
        elif not (self.holds_parts and orders):
            self.tell(ReadingMade(run_id, request_id, made))
