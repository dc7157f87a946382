"""What is kept of a pass at many positions, so that any of its cells can be read later.

A cell is a row at a position. Every number of a cell comes from its residual stream, through the
tail that made the run's own rows; row L is the model's own logits.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Final

import torch
from torch import Tensor, nn

from engine.anatomy.columns import Columns, WholeColumns
from engine.anatomy.parts import ModelParts
from engine.anatomy.sinks import massive, middle_rows, places
from engine.anatomy.tail import RowStream
from engine.errors import BadInput, CannotRead
from engine.lens.failures import describe_failure
from engine.lens.group_readout import group_reader
from engine.lens.kept import KeptStream
from engine.lens.row_reader import RowReader, Wanted
from engine.passes.forward import Forward, Project, ReadColumns
from engine.passes.inference import inferring
from engine.passes.prefix_cache import Kept, together
from engine.prompts.token_texts import TextOf
from engine.records import OtherPosition

_VISITED: Final = 8
"""At how many positions the readings are kept, so that more can be read there at once."""


@dataclass(frozen=True)
class Streams:
    """The residual streams of one pass at P positions."""

    model: nn.Module
    lock: threading.Lock
    """The lock that lets only one pass of the model run at a time."""
    parts: ModelParts
    positions: tuple[int, ...]
    """Ascending, counted along the sequence of the model's logits."""
    rows: tuple[RowStream, ...]
    """Rows 0..L, tensors [P, *rest]."""
    own: Tensor
    """The model's own logits, [P, vocabulary] in its own dtype."""
    project: Project
    """How the run's rows are read, with the final norm or without."""
    project_last: Project
    """How row L is read for a proof: always with the norm."""
    normed_columns: ReadColumns
    unnormed_columns: ReadColumns
    groups: tuple[tuple[int, ...], ...]
    """Rows 0..L-1 in the groups in which a position's rows go through the tail."""
    top_k: int
    text_of: TextOf
    track: tuple[int, ...] = ()
    """Tokens to follow at every position that is visited."""
    _visited: OrderedDict[int, tuple[KeptStream, OtherPosition]] = field(
        default_factory=OrderedDict, repr=False
    )

    @property
    def layers(self) -> int:
        """The number of layers, L."""
        return len(self.rows) - 1

    @property
    def vocabulary(self) -> int:
        """How many tokens the model can say."""
        return int(self.own.shape[-1])

    @property
    def has_columns(self) -> bool:
        """Whether a part of the vocabulary can be computed alone; else all of it is, at once."""
        return self.parts.tail.has_columns

    @contextmanager
    def reading(self) -> Iterator[None]:
        """A context in which cells may be read: no pass runs, and the model is in eval mode."""
        with self.lock, inferring(self.model):
            yield

    def index_of(self, position: int) -> int:
        """Where a position is in `positions`. Raises BadInput if it is not among them."""
        try:
            return self.positions.index(position)
        except ValueError:
            raise BadInput(f"there is no position {position} in this run") from None

    def some(self, positions: Sequence[int]) -> Streams:
        """Copies of the streams at some of the positions, ascending."""
        places = [self.index_of(position) for position in positions]
        rows = tuple(self.stream(row, places) for row in range(self.layers + 1))
        return replace(
            self,
            positions=tuple(positions),
            rows=rows,
            own=self.own[places],
            _visited=OrderedDict(),
        )

    def stream(self, row: int, places: Sequence[int] | slice) -> RowStream:
        """What a row is read from at some places; indices into `positions`."""
        return self.rows[row].mapped(lambda tensor: tensor[places])

    def own_columns(self, places: slice) -> Columns:
        """The model's own logits at some places, which are those of row L."""
        return WholeColumns(self.own[places])

    def columns(self, rows: Sequence[int], places: slice, norm: bool) -> Columns:
        """The logits of rows at some places, row by row, computed by the lens also for row L; to be
        called, and read, within `reading`."""
        read = self.normed_columns if norm else self.unnormed_columns
        return read([self.stream(row, places) for row in rows])

    def note(self, row: int) -> str | None:
        """Why a row is not exactly the truncated model's at some of the positions, or None."""
        return self.parts.note(row, self.rows[row]) if row < self.layers else None

    def at(self, position: int) -> tuple[KeptStream, OtherPosition]:
        """The kept stream and the rows at a position, read as the pass read those of the last one.

        Raises BadInput for a position that is not kept, CannotRead if its proof fails.
        """
        if position in self._visited:
            self._visited.move_to_end(position)
            return self._visited[position]
        place = self.index_of(position)
        found = self._read(position, place)
        self._visited[position] = found
        while len(self._visited) > _VISITED:
            self._visited.popitem(last=False)
        return found

    def _read(self, position: int, place: int) -> tuple[KeptStream, OtherPosition]:
        read_group = group_reader(self.project, self.top_k)
        reader = RowReader(
            self.parts, self.top_k, self.text_of, read_group, self.project, Wanted(self.track)
        )
        here = slice(place, place + 1)
        with self.reading():
            launched = [
                reader.launch(group, [self.stream(row, here) for row in group])
                for group in self.groups
            ]
            last, own = self.stream(self.layers, here), self.own[here].float()
            end = reader.launch_end(last, own, self.project_last([last]))
        for each in launched:
            reader.collect(each)
        found = reader.finish(end)
        if not found.proof.passed:
            raise CannotRead(describe_failure(found.proof))
        kept = reader.keep(self.model, self.lock, self.project)
        return kept, OtherPosition(position, found.rows, found.tracked)

    def sinks(self) -> tuple[int, ...]:
        """The positions with massive activations, see `engine.anatomy.sinks`; none where the model
        has no such channels, or where the first token is not among the positions."""
        if self.positions[:1] != (0,):
            return ()
        found = torch.zeros(len(self.positions), dtype=torch.bool)
        for row in middle_rows(self.layers):
            found |= massive(self.rows[row].stream).cpu()
        return tuple(self.positions[place] for place in places(found))


def joined(one: Streams, other: Streams) -> Streams:
    """The streams of two passes with different positions, those of `one` before those of `other`;
    not where rows are read by replay, which needs what its own pass has remembered."""
    return replace(
        one,
        positions=(*one.positions, *other.positions),
        rows=tuple(map(RowStream.followed_by, one.rows, other.rows)),
        own=torch.cat([one.own, other.own]),
        _visited=OrderedDict(),
    )


def streams_of(
    forward: Forward,
    kept: Kept,
    positions: tuple[int, ...],
    *,
    lock: threading.Lock,
    groups: tuple[tuple[int, ...], ...],
    norm: bool,
    top_k: int,
    text_of: TextOf,
    track: tuple[int, ...] = (),
) -> Streams:
    """What has been kept of a pass that has ended, and how it is read; `positions` ascend."""
    return Streams(
        model=forward.model,
        lock=lock,
        parts=forward.parts,
        positions=positions,
        rows=kept.rows,
        own=kept.logits,
        project=forward.projecting_later(norm),
        project_last=forward.projecting_later(),
        normed_columns=forward.columns_later(),
        unnormed_columns=forward.columns_later(norm=False),
        groups=groups,
        top_k=top_k,
        text_of=text_of,
        track=track,
    )


def streams_after(beginning: Kept | str, streams: Streams) -> Streams | str:
    """The streams of a pass that went on from a beginning, together with those of the beginning; or
    why they are not kept."""
    kept = together(beginning, Kept(streams.rows, streams.own))
    if isinstance(kept, str):
        return kept
    positions = tuple(range(len(kept.logits)))
    return replace(streams, positions=positions, rows=kept.rows, own=kept.logits)
