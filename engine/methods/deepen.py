"""Reads more of a row's top tokens than the run holds, from its kept stream."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, ClassVar, Final

from msgspec import Meta, structs

from engine.methods.everywhere import Read, changed_at
from engine.methods.method import Method, Stop, Subject
from engine.records import LayerReading, Reading, Request, Run
from engine.tables import Column, Table

MOST_KEPT: Final = 1000
"""Top tokens of a row that become part of the run: some 90 kB in a file. A whole vocabulary would
be 15 MB a row, and a run's limit is 32 MiB."""


class DeepenRequest(Request, frozen=True):
    """Which row to read, and how many of its top tokens."""

    layer: int
    count: Annotated[int, Meta(ge=1)] = 50
    """As many as the vocabulary has, at most."""
    position: int | None = None
    """Where to read it; None for the run's own position."""


class DeepenReading(Reading, frozen=True, kw_only=True, tag="deepen"):
    """One row with more of its top tokens; the first MOST_KEPT are merged into the run's rows."""

    stored: ClassVar[bool] = False

    request: DeepenRequest
    row: LayerReading

    def merged(self, run: Run) -> Run:
        """The run with this row instead of its own, at the position where it was read."""

        def put_into(read: Read) -> Read:
            kept = structs.replace(self.row, top=self.row.top[:MOST_KEPT])
            rows = tuple(kept if row.layer == kept.layer else row for row in read.rows)
            return structs.replace(read, rows=rows)

        return changed_at(run, self.request.position, put_into)


class Deepen(Method[DeepenRequest, DeepenReading]):
    """Reads more of a row's top tokens, without a new pass."""

    name: ClassVar[str] = "deepen"
    title: ClassVar[str] = "More of one row's top tokens"
    request = DeepenRequest
    reading = DeepenReading

    def read(self, subject: Subject, request: DeepenRequest, stop: Stop) -> Iterator[DeepenReading]:
        """Take the row through the tail again, in the group in which the pass did."""
        place = subject.place(request.position)
        row = subject.kept_at(place).deepen(request.layer, request.count, stop)
        yield DeepenReading(request=structs.replace(request, position=place), row=row)

    def tables(self, reading: DeepenReading) -> tuple[Table, ...]:
        """One line per token."""
        columns = (
            Column("rank", "count"),
            Column("id", "count"),
            Column("token", "token"),
            Column("probability", "share", "p"),
            Column("logit", "number"),
        )
        rows = tuple(
            (rank, token.id, token.text, token.probability, token.logit)
            for rank, token in enumerate(reading.row.top, 1)
        )
        return (Table(f"row {reading.row.layer}", columns, rows),)
