"""The grid: the best token of every row at every position, and how sure the model is of it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Annotated, ClassVar, Final

from msgspec import Meta, Struct, structs

from engine.arrays import Array, check_shape
from engine.methods.method import Method, Stop, Subject
from engine.records import MOST_LAYERS, Layer, NonNegative, Part, Reading, Request, Short
from engine.tables import Candidate, Cell, Column, Table

MOST_TOP: Final = 50
_MOST_COLUMNS: Final = 9
"""How many rows of the grid a printed table shows."""

Rows = Annotated[tuple[Layer, ...], Meta(max_length=MOST_LAYERS + 1)]
Positions = Annotated[tuple[NonNegative, ...], Meta(max_length=2**20)]


class GridRequest(Request, frozen=True):
    """Which cells to read; a cell is a row at a position."""

    rows: Rows = ()
    """All if empty. The last row is always read too, since the proof needs it."""
    positions: Annotated[tuple[int, ...], Meta(max_length=2**20)] = ()
    """All if empty; negative ones count back from the last token of the prompt."""
    top: Annotated[int, Meta(ge=1, le=MOST_TOP)] = 1
    kl: bool = False
    """Whether to read also how far each cell is from the last row at its position."""
    first: Layer | None = None
    """The row to read first. It is no part of what is asked for, and not stored."""


class Approximate(Struct, frozen=True):
    """Why a row is not exactly the truncated model's at some of its positions."""

    row: Layer
    reason: Short


class GridPart(Part, frozen=True):
    """Some rows of a grid, at all of its positions; arrays as in `GridReading`."""

    rows: Rows
    positions: Positions
    ids: Array
    logits: Array
    lse: Array
    entropy: Array
    rms: Array
    texts: dict[int, Short]
    """The texts of the ids in these rows."""
    kl_to_last: Array | None = None
    sinks: Positions = ()
    of: Layer = 0
    """How many rows the grid will have."""


class GridReading(Reading, frozen=True, kw_only=True, tag="grid"):
    """R rows at P positions. A position's row says the token that the model would put next."""

    request: GridRequest
    rows: Rows
    """Ascending; the last one is L."""
    positions: Positions
    """Ascending; indices into the run's tokens."""
    ids: Array
    """int32 [R, P, top]: the best tokens, the best one first."""
    logits: Array
    """float32 [R, P]: the logit of the best token."""
    lse: Array
    """float32 [R, P]: logsumexp of all logits; a probability is exp(logit - lse)."""
    entropy: Array
    """float32 [R, P], in nats."""
    rms: Array
    """float32 [R, P]: sqrt(mean(x^2)) of the residual stream."""
    texts: dict[int, Short]
    """Token id -> its text (see `engine.records.Token`), for every id in `ids`."""
    top_logits: Array | None = None
    """float32 [R, P, top]; None if `top` is 1."""
    kl_to_last: Array | None = None
    """float32 [R, P]: KL(row || last row) at the same position, in nats; None if not asked for."""
    sinks: Positions = ()
    """Positions with massive activations, which hold no content: max |x_d| >= 20 rms(x) in a
    channel d where the first token exceeds 20 rms (Kang et al. 2025, arXiv 2503.03321)."""
    approximate: tuple[Approximate, ...] = ()
    """The rows that are not exactly the truncated model's, and why."""

    def __post_init__(self) -> None:
        check_rows(self.rows, self.positions)
        cells = (len(self.rows), len(self.positions))
        top = self.ids.shape[-1] if len(self.ids.shape) == 3 else 0
        check_shape("ids", self.ids, "<i4", (*cells, max(top, 1)))
        for name in ("logits", "lse", "entropy", "rms", "kl_to_last"):
            array = getattr(self, name)
            if isinstance(array, Array):
                check_shape(name, array, "<f4", cells)
        if isinstance(self.top_logits, Array):
            check_shape("top_logits", self.top_logits, "<f4", (*cells, top))

    def fulfils(self, request: Request) -> bool:
        """Whether this is what a request asks for, whichever row it wanted first."""
        if not isinstance(request, GridRequest):
            return False
        same = structs.replace(request, first=None, kl=self.request.kl) == self.request
        return same and (self.request.kl or not request.kl)


def check_rows(rows: tuple[int, ...], positions: tuple[int, ...]) -> None:
    """Raise ValueError where rows or positions do not ascend."""
    for name, places in (("rows", rows), ("positions", positions)):
        if any(a >= b for a, b in pairwise(places)):
            raise ValueError(f"{name} do not ascend")


class Grid(Method[GridRequest, GridReading]):
    """Reads every row at every position, from the streams that are kept of a run."""

    name: ClassVar[str] = "grid"
    title: ClassVar[str] = "The best token of every row at every position"
    request = GridRequest
    reading = GridReading
    background: ClassVar[bool] = True

    def read(
        self, subject: Subject, request: GridRequest, stop: Stop
    ) -> Iterator[GridPart | GridReading | None]:
        """Read the rows in order, the one asked for first before the others."""
        raise NotImplementedError

    def tables(self, reading: GridReading) -> tuple[Table, ...]:
        """One line per position: the best token, and its probability, in up to nine rows."""
        import numpy as np

        ids, probability = reading.ids.values, np.exp(reading.logits.values - reading.lse.values)
        count = len(reading.rows)
        shown = sorted({round(i) for i in np.linspace(0, count - 1, min(count, _MOST_COLUMNS))})
        columns = [Column("position", "count")]
        columns += [
            Column(f"row_{reading.rows[i]}", "candidate", f"row {reading.rows[i]}") for i in shown
        ]
        rows: tuple[tuple[Cell, ...], ...] = tuple(
            (
                position,
                *(
                    Candidate(reading.texts.get(int(ids[i, p, 0]), ""), float(probability[i, p]))
                    for i in shown
                ),
            )
            for p, position in enumerate(reading.positions)
        )
        notes = [f"row {each.row}: {each.reason}" for each in reading.approximate]
        if reading.sinks:
            sinks = ", ".join(map(str, reading.sinks))
            notes.append(f"massive activations, which hold no content, at {sinks}")
        return (Table("the best token at every position", tuple(columns), rows, tuple(notes)),)
