"""A worker that finds the units of MLPs, with made numbers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Final

from msgspec.structs import replace

from engine.events import ReadingDropped, ReadingGrew, ReadingMade
from engine.methods.neurons import (
    Expert,
    LayerUnits,
    NeuronsPart,
    NeuronsReading,
    NeuronsRequest,
    Unit,
)
from engine.records import ReadingProof, Request, Token
from tests.tui.fakes import ANSWER, WORDS
from tests.tui.parts_stage import RUNNER_UP, PartsWorker, pushed

UNITS: Final = 64
"""Of every layer."""
BARE: Final = 3
"""A layer without units."""
MIXED: Final = 6
"""A layer that is a mixture of experts."""


def every_unit(layers: int, words: Sequence[str]) -> list[Unit]:
    found = []
    for layer in range(layers):
        for index in range(UNITS):
            size = (layer + 1) / (2 + index)
            sign = -1 if (index + layer) % 3 == 0 else 1
            found.append(
                Unit(
                    layer,
                    index,
                    activation=sign * 4.0 / (1 + index),
                    share=sign * 0.1 * size,
                    module="experts" if layer == MIXED else "MLP",
                    expert=index % 2 if layer == MIXED else None,
                    promotes=pushed(layer + index, words=words),
                    suppresses=pushed(layer + index + 4, -1, words),
                )
            )
    return [unit for unit in found if unit.layer != BARE]


def neurons_reading(
    request: NeuronsRequest,
    layers: int,
    count: int,
    words: Sequence[str] = WORDS,
    /,
    **changes: Any,
) -> NeuronsReading:
    """The largest units of one layer or of all."""
    texts = [f" {word}" for word in request.of] or [ANSWER[1], RUNNER_UP[1]]
    asked = [*range(layers)] if request.layer is None else [request.layer]
    mine = [unit for unit in every_unit(layers, words) if unit.layer in asked]
    largest = sorted(mine, key=lambda unit: -abs(unit.share or 0.0))[: request.top]
    units = tuple(
        replace(unit, effect=0.5 * (unit.share or 0.0)) if place < request.ablate else unit
        for place, unit in enumerate(largest)
    )

    def whole(layer: int) -> LayerUnits:
        shares = [unit.share or 0.0 for unit in mine if unit.layer == layer]
        if not shares:
            return LayerUnits(layer, 0, reason="its MLP ends in a convolution")
        high, low = (sum(each for each in shares if (each > 0) is sign) for sign in (True, False))
        return LayerUnits(layer, len(shares), sum(shares), high, low, 3e-7)

    fields: dict[str, Any] = {
        "value": 4.2,
        "layers": tuple(map(whole, asked)),
        "experts": (Expert(MIXED, 0, 0.7, 0.5), Expert(MIXED, 1, 0.3, -0.2))
        if MIXED in asked
        else (),
        "proof": ReadingProof("the sum of the units' additions", 3e-7, 1e-5, True),
        **changes,
    }
    return NeuronsReading(
        request=request,
        position=request.position % count,
        of=tuple(Token(17 + at, text, 0.5, 5.0) for at, text in enumerate(texts)),
        units=units,
        **fields,
    )


class NeuronsWorker(PartsWorker):
    """Answers requests for neurons, too. What is set to zero comes in a part first, and the whole
    after it unless `holds_neurons` is set."""

    def __init__(self, *given: Any, **settings: Any) -> None:
        super().__init__(*given, **settings)
        self.holds_neurons = False

    def read(self, run_id: str, request: Request) -> str:
        if not isinstance(request, NeuronsRequest):
            return super().read(run_id, request)
        request_id = f"{len(self.reads):016x}"
        self.reads.append((run_id, request))
        self.read_ids.append(request_id)
        self._jobs.put(partial(self._neurons, run_id, request_id, request))
        return request_id

    def _neurons(self, run_id: str, request_id: str, request: NeuronsRequest) -> None:
        words = WORDS if self.words is None else self.words
        made = self.made(request) or neurons_reading(
            request, self.layers, self._counts[run_id], words
        )
        if request.ablate and isinstance(made, NeuronsReading):
            first = replace(request, ablate=1)
            units = neurons_reading(first, self.layers, self._counts[run_id], words).units
            part = NeuronsPart(made.of, units, 1, request.ablate)
            self.tell(ReadingGrew(run_id, request_id, part))
        if request_id in self.cancelled_readings:
            self.tell(ReadingDropped(run_id, request_id))
        elif not (self.holds_neurons and request.ablate):
            self.tell(ReadingMade(run_id, request_id, made))
