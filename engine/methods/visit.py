"""Reads the rows at further positions of a run in full, from the streams that are kept of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, ClassVar

from msgspec import Meta, structs

from engine.errors import Cancelled
from engine.methods.everywhere import resolved
from engine.methods.method import Method, Stop, Subject
from engine.records import OtherPosition, Reading, Request, Run
from engine.tables import Candidate, Column, Table


class VisitRequest(Request, frozen=True):
    """Which positions to read."""

    positions: Annotated[tuple[int, ...], Meta(min_length=1, max_length=10_000)]
    """Negative ones count back from the last token of the prompt; those from its length on are the
    tokens of the newest answer."""


class VisitReading(Reading, frozen=True, kw_only=True, tag="visit"):
    """The rows at these positions; merged into the run's `others`."""

    stored: ClassVar[bool] = False

    request: VisitRequest
    others: tuple[OtherPosition, ...]

    def merged(self, run: Run) -> Run:
        """The run with these positions, each in place of what was known of it."""
        known = {other.position: other for other in run.others}
        for other in self.others:
            before = known.get(other.position)
            known[other.position] = other if before is None else _with_tokens_of(other, before)
        return structs.replace(run, others=tuple(known[place] for place in sorted(known)))


def _with_tokens_of(new: OtherPosition, old: OtherPosition) -> OtherPosition:
    """A position that is read again keeps the tokens that the user follows there."""
    ids = {each.id for each in new.tracked}
    more = tuple(each for each in old.tracked if each.why == "user" and each.id not in ids)
    return structs.replace(new, tracked=(*new.tracked, *more))


class Visit(Method[VisitRequest, VisitReading]):
    """Reads the rows at any position as the pass read those of the last one."""

    name: ClassVar[str] = "visit"
    title: ClassVar[str] = "The rows at any other position"
    request = VisitRequest
    reading = VisitReading

    def read(self, subject: Subject, request: VisitRequest, stop: Stop) -> Iterator[VisitReading]:
        """Take the kept streams of each position through the tail, without a new pass.

        Raises BadInput for a position out of range, or if the streams are no longer kept.
        """
        run = subject.run
        wanted = resolved(run, request.positions)
        further = tuple(position for position in wanted if position != run.position)
        others = []
        if further:
            streams = subject.streams(further)
            for position in further:
                if stop():
                    raise Cancelled("cancelled")
                others.append(streams.at(position)[1])
        yield VisitReading(
            request=request,
            reason="every position has passed the proof of a run",
            others=tuple(others),
        )

    def tables(self, reading: VisitReading) -> tuple[Table, ...]:
        """One table per position: the best three tokens of every row."""
        columns = (
            Column("layer", "count"),
            *(Column(f"top_{rank}", "candidate", f"#{rank}") for rank in (1, 2, 3)),
            Column("entropy", "number"),
        )
        return tuple(
            Table(
                f"position {other.position}",
                columns,
                tuple(
                    (
                        row.layer,
                        *(
                            Candidate(row.top[i].text, row.top[i].probability)
                            if i < len(row.top)
                            else None
                            for i in range(3)
                        ),
                        row.entropy,
                    )
                    for row in other.rows
                ),
            )
            for other in reading.others
        )
