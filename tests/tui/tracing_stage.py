"""A worker that traces a run with made numbers: the picture's tokens carry the answer until row
5, then the last token does."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Final

import numpy as np

from engine.arrays import Array
from engine.events import ReadingDropped, ReadingGrew, ReadingMade
from engine.methods.tracing import (
    NAMES,
    SITES,
    Metric,
    Site,
    TracingPart,
    TracingReading,
    TracingRequest,
)
from engine.records import Counterfactual, ReadingProof, Request, Token
from tests.tui.fakes import ANSWER
from tests.tui.words_stage import WordsWorker, positions_of
from tui.views.tracing.traced import positions_in

CORRUPT: Final = "c" * 16
METRIC: Final = Metric((Token(*ANSWER, 0.6, 5.0), Token(30, " red", 0.1, 1.8)), 3.2, -1.1)


def curve(site: str, layers: int) -> np.ndarray[Any, Any]:
    """float [L + 1]: the recovery of a site by row."""
    row = np.arange(layers + 1) / layers
    picture = 1 / (1 + np.exp(20 * (row - 0.55)))
    last = 1 - picture + 0.01
    found: np.ndarray[Any, Any] = {
        "picture": picture,
        "question": -0.06 * np.sin(3 * row),
        "last": last,
        "all": np.ones(layers + 1),
    }.get(site, 0.44 * picture)
    return found


def site_of(name: str, count: int, cells: Sequence[int]) -> Site:
    """A site of a prompt of `count` tokens of which `cells` show the picture; this model adds no
    features between its layers."""
    places = {
        "picture": tuple(cells),
        "question": (count - 2,),
        "last": (count - 1,),
        "all": tuple(range(count)),
        "features": (),
    }
    reason = "this model adds nothing of the picture between its layers"
    found = places[name] if name in NAMES else positions_in(name)
    return Site(name, found, reason if name == "features" else None)


def recoveries(request: TracingRequest, layers: int, rows: Sequence[int]) -> Array:
    names = request.sites or SITES
    sign = 1.0 if request.direction == "recover" else -0.5
    scale = sign * (1.0 if request.what == "stream" else 0.3)
    found = [
        np.full(len(rows), np.nan) if name == "features" else scale * curve(name, layers)[[*rows]]
        for name in names
    ]
    return Array.of(np.array(found), "<f4")


def rows_of(request: TracingRequest, layers: int) -> tuple[int, ...]:
    last = layers if request.what == "stream" else layers - request.window
    return tuple(range(last + 1))


def tracing_reading(
    request: TracingRequest, layers: int, count: int, cells: Sequence[int], **changes: Any
) -> TracingReading:
    rows = rows_of(request, layers)
    fields: dict[str, Any] = {
        "against": request.against if len(request.against) == 16 else CORRUPT,
        "sites": tuple(site_of(name, count, cells) for name in request.sites or SITES),
        "rows": rows,
        "recovery": recoveries(request, layers, rows),
        "metric": METRIC,
        "proof": ReadingProof("everything patched is the clean run", 1e-6, 1e-3, True),
        **changes,
    }
    return TracingReading(request=request, position=request.position % count, **fields)


def tracing_part(
    request: TracingRequest, layers: int, count: int, cells: Sequence[int], done: int
) -> TracingPart:
    """Coarse to fine: the first and the last row, the one in the middle, and so on."""
    rows = rows_of(request, layers)
    order = [0, rows[-1], rows[-1] // 2, rows[-1] // 4, 3 * rows[-1] // 4][:done]
    found = np.array(recoveries(request, layers, rows).values)
    for row in rows:
        if row not in order:
            found[:, row] = np.nan
    names = request.sites or SITES
    return TracingPart(
        sites=tuple(site_of(name, count, cells) for name in names),
        rows=rows,
        recovery=Array.of(found, "<f4"),
        metric=METRIC,
        done=done * len(names),
        orders=len(rows) * len(names),
    )


class TracingWorker(WordsWorker):
    """Answers requests for tracing, too: coarse parts first, and the whole after them unless
    `holds_tracing` is set."""

    def __init__(self, *given: Any, **settings: Any) -> None:
        super().__init__(*given, **settings)
        self.holds_tracing = False
        self._corrupt = CORRUPT

    def ask_against(self, of: str, counterfactuals: Sequence[Counterfactual]) -> tuple[str, ...]:
        run_ids = super().ask_against(of, counterfactuals)
        self._corrupt = run_ids[-1]
        return run_ids

    def read(self, run_id: str, request: Request) -> str:
        if not isinstance(request, TracingRequest):
            return super().read(run_id, request)
        request_id = f"{len(self.reads):016x}"
        self.reads.append((run_id, request))
        self.read_ids.append(request_id)
        self._jobs.put(partial(self._trace, run_id, request_id, request))
        return request_id

    def _trace(self, run_id: str, request_id: str, request: TracingRequest) -> None:
        count, cells = self._counts[run_id], positions_of(self.side**2)
        for done in (2, 3, 5):
            part = tracing_part(request, self.layers, count, cells, done)
            self.tell(ReadingGrew(run_id, request_id, part))
        if self.holds_tracing:
            return
        if request_id in self.cancelled_readings:
            self.tell(ReadingDropped(run_id, request_id))
            return
        changes = {} if len(request.against) == 16 else {"against": self._corrupt}
        made = self.made(request)
        made = made or tracing_reading(request, self.layers, count, cells, **changes)
        self.tell(ReadingMade(run_id, request_id, made))
