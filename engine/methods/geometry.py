"""Which part of the photograph each of its tokens shows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

from engine.arrays import Array, check_shape
from engine.methods.method import Method, Stop, Subject
from engine.records import Reading, Request
from engine.tables import Column, Table


class GeometryRequest(Request, frozen=True):
    """Has no settings."""


class GeometryReading(Reading, frozen=True, kw_only=True, tag="geometry"):
    """The boxes of n picture tokens, in the order of the prompt."""

    request: GeometryRequest
    how: Literal["exact", "approximate", "none"]
    """`reason` says why it is not exact."""
    tokens: Array
    """int32 [n]: the positions of the tokens, ascending."""
    boxes: Array
    """float32 [n, 4]: x0, y0, x1, y1 in pixels of the photograph, not clipped: padding reaches
    beyond. NaN for a token that shows nothing of it (a newline, padding alone)."""
    tile: Array
    """int16 [n]: the tile that the token belongs to, from 0 in the order of the prompt; -1 if
    unknown."""
    row: Array
    """int16 [n]: the token's row in its tile, from 0; -1 if unknown."""
    column: Array
    """int16 [n]: likewise."""

    def __post_init__(self) -> None:
        if not isinstance(self.tokens, Array):
            return
        count = self.tokens.shape[0] if self.tokens.shape else 0
        check_shape("tokens", self.tokens, "<i4", (count,))
        check_shape("boxes", self.boxes, "<f4", (count, 4))
        for name in ("tile", "row", "column"):
            check_shape(name, getattr(self, name), "<i2", (count,))


class Geometry(Method[GeometryRequest, GeometryReading]):
    """Finds which pixels each picture token depends on, by watching the model."""

    name: ClassVar[str] = "geometry"
    title: ClassVar[str] = "Which part of the picture each of its tokens shows"
    request = GeometryRequest
    reading = GeometryReading

    def read(
        self, subject: Subject, request: GeometryRequest, stop: Stop
    ) -> Iterator[GeometryReading]:
        """Find it once for inputs of this kind; a model without such a relation gives a reading
        with `how` "none" and the reason."""
        raise NotImplementedError

    def tables(self, reading: GeometryReading) -> tuple[Table, ...]:
        """One line per picture token."""
        columns = (
            Column("position", "count"), Column("tile", "count"), Column("row", "count"),
            Column("column", "count"), Column("x0", "number"), Column("y0", "number"),
            Column("x1", "number"), Column("y1", "number"),
        )  # fmt: skip
        places = zip(
            reading.tokens.values.tolist(),
            reading.tile.values.tolist(),
            reading.row.values.tolist(),
            reading.column.values.tolist(),
            reading.boxes.values.tolist(),
            strict=True,
        )
        rows = tuple(
            (token, tile, row, column, *(None if edge != edge else edge for edge in box))
            for token, tile, row, column, box in places
        )
        title = f"patches of the picture: {reading.how}"
        return (Table(title, columns, rows, (reading.reason,) if reading.reason else ()),)
