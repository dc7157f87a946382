"""The grid: every row at every position, filled in steps from the streams of one pass.

The layer x token view of the tuned-lens authors (Belrose et al. 2023) and of LogitLens4LLMs, here
for the model's own tail, proved at every position.
"""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from torch import Tensor

from engine.anatomy.columns import Columns, HeadColumns
from engine.anatomy.logit_map import tolerance
from engine.errors import BadInput, CannotRead
from engine.lens.readout import root_mean_square
from engine.lens.streams import Streams
from engine.lens.tally import CellNumbers, Reference, tallied
from engine.records import ReadingProof, finite
from engine.system.steps import finished
from engine.system.transfers import Fetched

CELLS: Final = 512
"""Cells that are read together on a CPU, where their part of the vocabulary stays in the cache."""
CELLS_ON_DEVICE: Final = 1024
FEWEST: Final = 16
STEP_SECONDS: Final = 0.04
"""How long a step of a fill may take, so that other work need not wait for it."""
MOST_HELD: Final = 2**30
"""Bytes of head inputs that are kept beside the streams."""
LOGITS_AT_ONCE: Final = 2**23
"""32 MB of float32: where the head is no plain matrix, a chunk's logits are made whole."""


class GridRow(NamedTuple):
    """A row at P positions, on the CPU; float32 [P] unless stated."""

    ids: Tensor
    """int32 [P, top]"""
    logits: Tensor
    """[P, top]"""
    lse: Tensor
    entropy: Tensor
    rms: Tensor
    kl: Tensor | None


@dataclass
class _Arriving:
    """The numbers of some rows at some positions, which a device may still be computing."""

    rows: tuple[int, ...]
    fetched: Fetched
    """int32 [cells, columns]: the fields of `GridRow` side by side, floats as their bit patterns;
    the cells of the first row, then those of the next one."""
    top: int
    _found: list[GridRow] | None = None

    @classmethod
    def of(cls, rows: Sequence[int], numbers: CellNumbers, streams: Sequence[Tensor]) -> _Arriving:
        """Pack the numbers of `rows`, whose streams at these positions are [positions, *rest]."""
        device = numbers.lse.device
        rms = torch.cat([root_mean_square(each) for each in streams]).to(device)
        floats = [numbers.lse, numbers.entropy, rms]
        floats += [] if numbers.kl is None else [numbers.kl]
        packed = torch.cat([numbers.logits, torch.stack(floats, 1)], 1).view(torch.int32)
        values = torch.cat([numbers.ids.to(torch.int32), packed], 1)
        return cls(tuple(rows), Fetched([values]), numbers.ids.shape[1])

    def wait(self) -> list[GridRow]:
        """Wait for the numbers; those of each row."""
        if self._found is None:
            (values,) = self.fetched.wait()
            floats = values[:, self.top :].contiguous().view(torch.float32)
            self._found = []
            for some in zip(
                values[:, : self.top].chunk(len(self.rows)),
                floats.chunk(len(self.rows)),
                strict=True,
            ):
                ids, numbers = some
                lse, entropy, rms, *kl = numbers[:, self.top :].unbind(1)
                logits = numbers[:, : self.top]
                self._found.append(GridRow(ids, logits, lse, entropy, rms, kl[0] if kl else None))
        return self._found


@dataclass
class GridFill:
    """Fills a grid row by row; rows that have been read are remembered."""

    streams: Streams
    top: int = 1
    kl: bool = False
    norm: bool = True
    """Whether rows other than the last go through the final norm."""
    rows: dict[int, GridRow] = field(default_factory=dict)
    """What has been read so far."""
    proof: ReadingProof | None = None
    """Of the last row at every position, once it has been read."""
    _heads: dict[int, HeadColumns] = field(default_factory=dict)
    """What goes into the head for the rows that have been read, so that a word costs one product
    and not the final norm of every cell again."""
    _held: int = 0
    """Bytes of that."""
    _seconds_per_cell: float | None = None
    _busy: float = 0.0
    """Seconds that reading the last chunk took, without what ran in between."""

    def fill(self, rows: Sequence[int], patient: bool = True) -> Generator[None, None, None]:
        """Read what is missing of these rows, in this order; yields between two steps of about
        STEP_SECONDS, or, if not `patient`, between larger ones.

        The last row, without which there is no proof, is read after the first one; before it where
        the divergence from it is wanted.
        """
        last = self.streams.layers
        wanted = [row for row in dict.fromkeys(rows) if row not in self.rows and row != last]
        if last not in self.rows:
            wanted.insert(0 if self.kl else min(1, len(wanted)), last)
        launched: list[_Arriving] = []
        while wanted:
            together = self._rows_together(wanted, patient)
            if together[0] == last:
                yield from self._read_last(patient)
            else:
                launched += yield from self._read(together, patient)
                if patient:
                    self._arrive(launched)
            wanted = wanted[len(together) :]
        self._arrive(launched)

    def whole(self, rows: Sequence[int]) -> None:
        """Read these rows at once. An accelerator is waited for at the end alone, beside what the
        proof of the last row needs."""
        with self.streams.reading():
            finished(self.fill(rows, patient=False))

    def _rows_together(self, wanted: Sequence[int], patient: bool) -> list[int]:
        """The next rows that fit into one chunk."""
        last = self.streams.layers
        if wanted[0] == last:
            return [last]
        fit = max(1, self._cells(patient) // len(self.streams.positions))
        found: list[int] = []
        for row in wanted[:fit]:
            if row == last:
                break
            found.append(row)
        return found

    def _cells(self, patient: bool) -> int:
        """How many cells are read together."""
        streams = self.streams
        most = CELLS if streams.own.device.type == "cpu" else CELLS_ON_DEVICE
        if not streams.has_columns:
            most = max(1, min(most, LOGITS_AT_ONCE // streams.vocabulary))
        if patient and self._seconds_per_cell and streams.own.device.type == "cpu":
            most = min(most, max(FEWEST, int(STEP_SECONDS / self._seconds_per_cell)))
        return most

    def _read(self, rows: Sequence[int], patient: bool) -> Generator[None, None, list[_Arriving]]:
        launched: list[_Arriving] = []
        heads: dict[int, list[HeadColumns]] = {row: [] for row in rows}
        for places in self._places(len(rows), patient):
            count = places.stop - places.start
            with self._reading(patient):
                columns = self.streams.columns(rows, places, self.norm)
            steps = self._tally(columns, count * len(rows), places)
            numbers = yield from self._stepping(steps, patient)
            streams = [self.streams.stream(row, places).stream for row in rows]
            launched.append(_Arriving.of(rows, numbers, streams))
            if isinstance(columns, HeadColumns):
                for index, row in enumerate(rows):
                    cells = slice(index * count, (index + 1) * count)
                    heads[row].append(columns.some(cells))
            if patient:
                launched[-1].wait()  # so that a step is as long as it takes
            self._seconds_per_cell = self._busy / (count * len(rows))
            yield
        for row in rows:
            if heads[row]:
                self._keep(row, HeadColumns.joined(heads[row]))
        return launched

    def _reading(self, patient: bool) -> AbstractContextManager[None]:
        """A step's own `reading`; what is not patient is within one from beginning to end."""
        return self.streams.reading() if patient else nullcontext()

    def _arrive(self, launched: list[_Arriving]) -> None:
        """Wait for what has been launched of whole rows, and add it to the rows."""
        pieces: dict[int, list[GridRow]] = {}
        for each in launched:
            for row, piece in zip(each.rows, each.wait(), strict=True):
                pieces.setdefault(row, []).append(piece)
        launched.clear()
        self.rows.update((row, _joined(found)) for row, found in pieces.items())

    def _keep(self, row: int, columns: HeadColumns) -> None:
        # Words are read from grids of the best token only.
        if self.top == 1 and self._held + columns.hidden.nbytes <= MOST_HELD:
            self._held += columns.hidden.nbytes
            self._heads[row] = columns

    def columns(self, row: int, places: slice) -> Columns:
        """The logits of a row that has been read at some places; to be called within `reading`."""
        if row == self.streams.layers:
            return self.streams.own_columns(places)
        if row in self._heads:
            return self._heads[row].some(places)
        return self.streams.columns([row], places, self.norm)

    def _stepping(
        self, steps: Generator[None, None, CellNumbers], patient: bool
    ) -> Generator[None, None, CellNumbers]:
        """Carry out steps within `reading`, leaving it whenever other work may run."""
        self._busy = 0.0
        while True:
            began = time.perf_counter()
            with self._reading(patient):
                try:
                    while not patient or time.perf_counter() - began < STEP_SECONDS:
                        next(steps)
                except StopIteration as end:
                    self._busy += time.perf_counter() - began
                    numbers: CellNumbers = end.value
                    return numbers
            self._busy += time.perf_counter() - began
            yield

    def _tally(
        self, columns: Columns, cells: int, places: slice
    ) -> Generator[None, None, CellNumbers]:
        reference = None
        if self.kl:
            lse = self.rows[self.streams.layers].lse[places].to(columns.device)
            reference = Reference(self.streams.own_columns(places), lse)
        return (yield from tallied(columns, cells, self.top, reference))

    def _read_last(self, patient: bool) -> Iterator[None]:
        """Read row L from the model's own logits, and prove the lens's against them."""
        streams, last = self.streams, self.streams.layers
        pieces: list[GridRow] = []
        worst, limit = 0.0, tolerance(streams.parts.dtype, torch.empty(0))
        for places in self._places(1, patient):
            count = places.stop - places.start
            own = streams.own_columns(places)
            numbers = yield from self._stepping(tallied(own, count, self.top), patient)
            steps = self._compare_last(places, numbers.lse)
            computed = yield from self._stepping(steps, patient)
            assert computed.difference is not None and computed.size is not None
            worst = worse(worst, float(computed.difference.max()))
            limit = max(limit, tolerance(streams.parts.dtype, computed.size))
            (piece,) = _Arriving.of([last], numbers, [streams.rows[last].stream[places]]).wait()
            kl = torch.zeros(count) if self.kl else None
            pieces.append(piece._replace(kl=kl))
            yield
        self.proof = ReadingProof(
            what=f"the lens's last row against the model's own logits at all "
            f"{len(streams.positions)} positions",
            error=finite(worst),
            tolerance=limit,
            passed=worst <= limit,
        )
        self.rows[last] = _joined(pieces)

    def _compare_last(self, places: slice, lse: Tensor) -> Generator[None, None, CellNumbers]:
        columns = self.streams.columns([self.streams.layers], places, norm=True)
        reference = Reference(self.streams.own_columns(places), lse.to(columns.device))
        return (yield from tallied(columns, places.stop - places.start, 1, reference))

    def _places(self, rows: int, patient: bool) -> Iterator[slice]:
        """Chunks of the positions of so many rows that are read together."""
        count, start = len(self.streams.positions), 0
        while start < count:
            stop = min(count, start + max(1, self._cells(patient) // rows))
            yield slice(start, stop)
            start = stop


def _joined(pieces: Sequence[GridRow]) -> GridRow:
    if len(pieces) == 1:
        return pieces[0]
    columns = [
        None if column[0] is None else torch.cat(column)  # type: ignore[arg-type]
        for column in zip(*pieces, strict=True)
    ]
    return GridRow(*columns)  # type: ignore[arg-type]


def worse(one: float, other: float) -> float:
    """The larger of two errors; a NaN is the worst."""
    return one if math.isnan(one) or other <= one else other


@dataclass(frozen=True)
class Grid:
    """R rows at P positions, as numpy arrays."""

    rows: tuple[int, ...]
    """Ascending; the last one is L."""
    positions: tuple[int, ...]
    """Ascending."""
    ids: np.ndarray[Any, Any]
    """int32 [R, P, top]: the best tokens, the best one first; ties go to the lower id."""
    logits: np.ndarray[Any, Any]
    """float32 [R, P]: the logit of the best token."""
    lse: np.ndarray[Any, Any]
    """float32 [R, P]: logsumexp of all logits."""
    entropy: np.ndarray[Any, Any]
    """float32 [R, P], in nats."""
    rms: np.ndarray[Any, Any]
    """float32 [R, P]: sqrt(mean(x^2)) of the residual stream."""
    top_logits: np.ndarray[Any, Any]
    """float32 [R, P, top]"""
    proof: ReadingProof
    fill: GridFill = field(repr=False)

    @property
    def probability(self) -> np.ndarray[Any, Any]:
        """float32 [R, P]: the probability of the best token."""
        found: np.ndarray[Any, Any] = np.exp(self.logits - self.lse)
        return found

    def word(self, ids: Sequence[int]) -> np.ndarray[Any, Any]:
        """The summed probability of these tokens in every cell: float32 [R, P].

        Raises BadInput for an id that is not in the vocabulary.
        """
        (found,) = finished(probabilities_of(self.fill, self.rows, [ids]))
        return numpy_of(found)


def numpy_of(tensor: Tensor) -> np.ndarray[Any, Any]:
    """A CPU tensor as a numpy array."""
    array: np.ndarray[Any, Any] = tensor.numpy()
    return array


def probabilities_of(
    fill: GridFill, rows: Sequence[int], words: Sequence[Sequence[int]]
) -> Generator[None, None, Tensor]:
    """The summed probability of the tokens of each word in rows that have been filled; yields
    between two chunks of cells, and returns float32 [W, R, P].

    Reads one column of the head for each token. Raises BadInput for an id that is not in the
    vocabulary.
    """
    streams = fill.streams
    wanted = torch.tensor(sorted({token for ids in words for token in ids}), dtype=torch.int64)
    for token in wanted.tolist():
        if not 0 <= token < streams.vocabulary:
            raise BadInput(f"there is no token {token}: ids go from 0 to {streams.vocabulary - 1}")
    belongs = torch.stack([torch.isin(wanted, torch.tensor([*ids])) for ids in words])  # [W, ids]
    count = len(streams.positions)
    chunk = count if streams.has_columns else max(1, LOGITS_AT_ONCE // streams.vocabulary)
    found = torch.empty(len(words), len(rows), count)
    for index, row in enumerate(rows):
        for start in range(0, count, chunk):
            places = slice(start, min(start + chunk, count))
            with streams.reading():
                logits = fill.columns(row, places).of(wanted)  # [cells, ids]
                lse = fill.rows[row].lse[places].to(logits.device)
                shares = (logits - lse.unsqueeze(1)).exp().cpu()
            found[:, index, places] = torch.stack([shares[:, each].sum(-1) for each in belongs])
            yield
    return found


def as_grid(fill: GridFill, rows: Sequence[int]) -> Grid:
    """A grid of rows that have been filled. Raises CannotRead if its proof has failed."""
    assert fill.proof is not None
    if not fill.proof.passed:
        raise CannotRead(
            f"the proof failed: {fill.proof.what} differ by {fill.proof.error} "
            f"(tolerance {fill.proof.tolerance:.3g})"
        )
    read = [fill.rows[row] for row in rows]
    logits = numpy_of(torch.stack([row.logits for row in read]))
    return Grid(
        rows=tuple(rows),
        positions=fill.streams.positions,
        ids=numpy_of(torch.stack([row.ids for row in read])),
        logits=logits[..., 0],
        lse=numpy_of(torch.stack([row.lse for row in read])),
        entropy=numpy_of(torch.stack([row.entropy for row in read])),
        rms=numpy_of(torch.stack([row.rms for row in read])),
        top_logits=logits,
        proof=fill.proof,
        fill=fill,
    )
