"""The grid: the best token of every row at every position, and how sure the model is of it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final

from msgspec import Meta, Struct, structs

from engine.arrays import MOST_BYTES, Array, check_shape
from engine.errors import BadInput, Remedy
from engine.methods.everywhere import last_position
from engine.methods.method import Method, Stop, Subject
from engine.records import (
    MOST_LAYERS,
    Layer,
    NonNegative,
    Part,
    Reading,
    ReadingProof,
    Request,
    Run,
    Short,
    finite,
)
from engine.stays import first_that_stays
from engine.system.steps import stopping
from engine.tables import Candidate, Cell, Column, Table

if TYPE_CHECKING:
    from engine.lens.grid import GridFill

MOST_TOP: Final = 50
_BETWEEN_PARTS: Final = 0.05
"""Seconds between two parts, so that who draws them is not flooded."""

Rows = Annotated[tuple[Layer, ...], Meta(max_length=MOST_LAYERS + 1)]
Positions = Annotated[tuple[NonNegative, ...], Meta(max_length=2**20)]


class GridRequest(Request, frozen=True):
    """Which cells to read; a cell is a row at a position."""

    rows: Rows = ()
    """All if empty. The last row is always read too, since the proof needs it."""
    positions: Annotated[tuple[int, ...], Meta(max_length=2**20)] = ()
    """All those of the prompt if empty; negative ones count back from its last token, and those
    from its length on are the tokens of the newest answer."""
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
    """Ascending; indices into the run's tokens, followed by those of its newest answer."""
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

    def misfit(self, run: Run) -> str | None:
        """See `Reading.misfit`."""
        odd = misfit(run, self.rows, self.positions)
        if odd is None and any(not 0 <= place <= last_position(run) for place in self.sinks):
            return f"sinks beyond {last_position(run) + 1} tokens"
        if odd is None and any(each.row > run.layers for each in self.approximate):
            return f"approximate rows beyond {run.layers}"
        return odd

    @property
    def reaches(self) -> int:
        """See `Reading.reaches`."""
        return max(self.positions, default=-1)

    def fulfils(self, request: Request) -> bool:
        """Whether this is what a request asks for, whichever row it wanted first."""
        if not isinstance(request, GridRequest):
            return False
        same = structs.replace(request, first=None, kl=self.request.kl) == self.request
        return same and (self.request.kl or not request.kl)


def misfit(run: Run, rows: Sequence[int], positions: Sequence[int]) -> str | None:
    """Why cells with these rows and positions, both ascending, cannot be a run's; or None."""
    if rows[-1:] != (run.layers,):
        return f"its rows end with {[*rows[-1:]]}, not with {run.layers}"
    if positions and positions[-1] > last_position(run):
        return f"position {positions[-1]} of {last_position(run) + 1} tokens"
    return None


def refuse_too_many(run: Run, numbers: int, positions: Sequence[int]) -> None:
    """Raise BadInput where so many numbers at each position would not fit into an array."""
    count = len(positions) or len(run.tokens)
    size = 4 * numbers * count
    if size > MOST_BYTES:
        raise BadInput(
            f"{numbers:,} numbers at {count:,} positions take {size:,} bytes, and an array holds "
            f"{MOST_BYTES:,}: name fewer rows, positions or tokens",
            Remedy.SOME_POSITIONS,
        )


def ordered_rows(rows: tuple[int, ...], layers: int) -> tuple[int, ...]:
    """The rows asked for in ascending order, and the last one; all if none are named.

    Raises BadInput for a row that a model of so many layers does not have.
    """
    for row in rows:
        if row > layers:
            raise BadInput(f"there is no row {row}: this run's rows go from 0 to {layers}")
    return tuple(sorted({*rows, layers})) if rows else tuple(range(layers + 1))


def _part(
    fill: GridFill, rows: list[int], sinks: tuple[int, ...], count: int, kl: bool
) -> GridPart:
    return GridPart(
        rows=tuple(rows),
        positions=fill.streams.positions,
        sinks=sinks,
        of=count,
        **_arrays(fill, rows, kl),
    )


def _arrays(fill: GridFill, rows: Sequence[int], kl: bool) -> dict[str, Any]:
    """The fields that a part and a whole grid have in common."""
    ids = Array.of(_stacked(fill, rows, "ids"), "<i4")
    text_of = fill.streams.text_of
    return {
        "ids": ids,
        **{name: _array(fill, rows, name) for name in ("logits", "lse", "entropy", "rms")},
        "kl_to_last": _array(fill, rows, "kl") if kl else None,
        "texts": {int(token): text_of(int(token)) for token in sorted({*ids.values.flat})},
    }


def _array(fill: GridFill, rows: Sequence[int], name: str, *, every: bool = False) -> Array:
    values = _stacked(fill, rows, name)
    return Array.of(values[..., 0] if name == "logits" and not every else values, "<f4")


def _stacked(fill: GridFill, rows: Sequence[int], name: str) -> Any:
    import torch

    return torch.stack([getattr(fill.rows[row], name) for row in rows]).numpy()


def _with_own_rows(fill: GridFill, run: Run, proof: ReadingProof) -> ReadingProof:
    """The proof, with the best logits of the run's own rows compared too: those were read while
    the pass ran, before anything could have changed the kept streams."""
    from engine.lens.grid import worse

    if run.position not in fill.streams.positions or proof.error is None:
        return proof
    place = fill.streams.positions.index(run.position)
    worst = proof.error
    for row in run.rows:
        known = row.top[0].logit if row.top else None
        if known is not None and row.layer in fill.rows:
            found = float(fill.rows[row.layer].logits[place, 0])
            worst = worse(worst, abs(found - known))
    return structs.replace(
        proof,
        what=f"{proof.what}, and its rows at the run's own position against those of the run",
        error=finite(worst),
        passed=proof.passed and worst <= proof.tolerance,
    )


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
        """Read the row asked for first, then those around it.

        Raises BadInput for a position or row out of range, if the streams of the run are no longer
        kept, or if those of all positions would take too much memory.
        """
        run = subject.run
        rows = ordered_rows(request.rows, run.layers)
        refuse_too_many(run, len(rows) * request.top, request.positions)
        fill = subject.fill(request.positions, top=request.top, kl=request.kl)
        sinks = fill.streams.sinks()
        first = rows[-1] if request.first is None else request.first
        order = sorted(rows, key=lambda row: (abs(row - first), row))
        told: set[int] = set()
        told_at = 0.0
        for _ in stopping(fill.fill(order), stop):
            new = [row for row in rows if row in fill.rows and row not in told]
            if new and time.perf_counter() - told_at > _BETWEEN_PARTS:
                yield _part(fill, new, sinks, len(rows), request.kl)
                told.update(new)
                told_at = time.perf_counter()
            else:
                yield None
        assert fill.proof is not None
        proof = _with_own_rows(fill, run, fill.proof)
        found = tuple(
            Approximate(row, note) for row in rows if (note := fill.streams.note(row)) is not None
        )
        yield GridReading(
            request=structs.replace(request, first=None),
            proof=proof,
            rows=rows,
            positions=fill.streams.positions,
            sinks=sinks,
            approximate=found,
            top_logits=_array(fill, rows, "logits", every=True) if request.top > 1 else None,
            **_arrays(fill, rows, request.kl),
        )

    def tables(self, reading: GridReading) -> tuple[Table, ...]:
        """One line per position: its next token, the row from which that stays the best, and the
        best tokens of the first and the middle row."""
        import numpy as np

        ids, probability = reading.ids.values, np.exp(reading.logits.values - reading.lse.values)
        count = len(reading.rows)
        shown = list(dict.fromkeys((0, count // 2)))[: max(count - 1, 0)]

        def best(row: int, place: int) -> Candidate:
            text = reading.texts.get(int(ids[row, place, 0]), "")
            return Candidate(text, float(probability[row, place]))

        rows: list[tuple[Cell, ...]] = []
        for place, position in enumerate(reading.positions):
            same = (ids[:, place, 0] == ids[-1, place, 0]).tolist()
            stays = first_that_stays(same)
            rows.append(
                (
                    position,
                    best(-1, place),
                    None if stays is None else reading.rows[stays],
                    *(best(row, place) for row in shown),
                )
            )
        columns = (
            Column("position", "count"),
            Column("next_token", "candidate", "next token"),
            Column("from_row", "count", "from row"),
            *(
                Column(f"row_{reading.rows[row]}", "candidate", f"row {reading.rows[row]}")
                for row in shown
            ),
        )
        notes = [
            f"{count} rows were read, {reading.rows[0]} to {reading.rows[-1]}; the JSON has them "
            "all. A token stays from a row on if it is the best in all of these that follow."
        ]
        notes += [f"row {each.row}: {each.reason}" for each in reading.approximate]
        if reading.sinks:
            sinks = ", ".join(map(str, reading.sinks))
            notes.append(f"massive activations, which hold no content, at {sinks}")
        return (Table("the best token at every position", columns, tuple(rows), tuple(notes)),)
