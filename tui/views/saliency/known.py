"""What is known of the saliency of a run: readings by what they were asked. Without Textual."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.structs import replace

from engine.methods.saliency import SaliencyPart, SaliencyReading, SaliencyRequest
from engine.records import Reading

_DEFAULT = SaliencyRequest()


def plain(request: SaliencyRequest, count: int) -> SaliencyRequest:
    """Return a request of a run with so many tokens without what its way makes nothing of, and
    without what is only measured beside the map: equal ones have the same map."""
    way, sampled = request.way, request.way in ("ig", "smoothgrad")
    return replace(
        request,
        position=request.position % count,
        row=None if way == "attention" else request.row,
        steps=request.steps if sampled else _DEFAULT.steps,
        seed=request.seed if way == "smoothgrad" else _DEFAULT.seed,
        block=request.block if way == "occlusion" else _DEFAULT.block,
        compare=False,
        matrix=False,
    )


class KnownSaliency:
    """Collects the readings of a run, and the part of the one that is being read."""

    def __init__(self, count: int) -> None:
        """Collect what is known of a run with so many tokens."""
        self._count = count
        self._readings: list[SaliencyReading] = []
        self._part: tuple[SaliencyRequest, SaliencyPart] | None = None

    def take_all(self, readings: Iterable[Reading]) -> None:
        """Know these readings, and no others."""
        self._readings = [each for each in readings if isinstance(each, SaliencyReading)]

    def take_part(self, request: SaliencyRequest, part: SaliencyPart) -> None:
        """Take what has been found so far on a request."""
        self._part = (plain(request, self._count), part)

    def reading(self, request: SaliencyRequest) -> SaliencyReading | None:
        """Return the newest reading with the map that is asked for; one that was compared, if
        there is any."""
        wanted = plain(request, self._count)
        found = [each for each in self._readings if plain(each.request, self._count) == wanted]
        return max(found, key=lambda each: each.curves is not None, default=None)

    def part(self, request: SaliencyRequest) -> SaliencyPart | None:
        """Return what has been found so far of the map that is asked for."""
        if self._part is None or self._part[0] != plain(request, self._count):
            return None
        return self._part[1]

    def matrix(self, request: SaliencyRequest) -> SaliencyReading | None:
        """Return the newest reading with every row and position for the target that is asked
        for."""
        return next((each for each in reversed(self.tried(request)) if each.matrix), None)

    def tried(self, request: SaliencyRequest) -> list[SaliencyReading]:
        """Return one reading of every map of the target that is asked for, in the order in which
        they were read."""
        target = (request.position % self._count, request.of)
        found: dict[SaliencyRequest, SaliencyReading] = {}
        for each in self._readings:
            if (each.request.position % self._count, each.request.of) == target:
                key = plain(each.request, self._count)
                before = found.get(key)
                if before is None or before.curves is None or each.curves is not None:
                    found[key] = each
        return [*found.values()]
