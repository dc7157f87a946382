"""Follows tokens through all rows of a run, from its kept stream."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from msgspec import structs

from engine.errors import BadInput
from engine.methods.everywhere import Read, changed_at
from engine.methods.method import Method, Stop, Subject
from engine.records import NonNegative, Reading, Request, Run, Tracked
from engine.tables import Column, Table


class TrackRequest(Request, frozen=True):
    """Which tokens to follow."""

    ids: tuple[NonNegative, ...] = ()
    words: tuple[str, ...] = ()
    """Of each word, the first token of its most likely spelling is followed."""
    position: int | None = None
    """Where to follow them; None for the run's own position."""


class TrackReading(Reading, frozen=True, kw_only=True, tag="track"):
    """Tokens through rows 0..L; merged into the tracked tokens of the run."""

    stored: ClassVar[bool] = False

    request: TrackRequest
    tracked: tuple[Tracked, ...]

    def merged(self, run: Run) -> Run:
        """The run with these tokens tracked too, at the position where they were followed; the
        answer keeps `why` "answer"."""

        def add_to(read: Read) -> Read:
            return structs.replace(read, tracked=self._added_to(read.tracked))

        return changed_at(run, self.request.position, add_to)

    def _added_to(self, tracked: tuple[Tracked, ...]) -> tuple[Tracked, ...]:
        known = {each.id: each for each in tracked}
        for new in self.tracked:
            old = known.get(new.id)
            if old is None or len(old.probability) != len(new.probability):
                known[new.id] = new
            elif old.why != "answer":
                known[new.id] = structs.replace(old, why="user")
        return tuple(known.values())


class Track(Method[TrackRequest, TrackReading]):
    """Follows tokens through the rows, without a new pass."""

    name: ClassVar[str] = "track"
    title: ClassVar[str] = "Tokens followed through all rows"
    request = TrackRequest
    reading = TrackReading

    def read(self, subject: Subject, request: TrackRequest, stop: Stop) -> Iterator[TrackReading]:
        """Take all rows through the tail again, in the groups of the pass."""
        ids = [*request.ids, *(_id_of(subject, word) for word in request.words)]
        if not ids:
            raise BadInput("name a token to follow")
        place = subject.visited(request.position)
        yield TrackReading(
            request=structs.replace(request, position=place),
            tracked=subject.kept_at(place).track(ids, stop),
        )

    def tables(self, reading: TrackReading) -> tuple[Table, ...]:
        """One line per row: the probability and rank of every token."""
        columns = [Column("layer", "count")]
        for tracked in reading.tracked:
            columns += [
                Column(f"p_{tracked.id}", "share", tracked.text, is_of_a_token=True),
                Column(f"rank_{tracked.id}", "count", "rank"),
            ]
        layers = len(reading.tracked[0].probability) if reading.tracked else 0
        rows = tuple(
            (
                layer,
                *(
                    value
                    for tracked in reading.tracked
                    for value in (tracked.probability[layer], tracked.rank[layer])
                ),
            )
            for layer in range(layers)
        )
        return (Table("tokens through the rows", tuple(columns), rows),)


def _id_of(subject: Subject, word: str) -> int:
    from engine.prompts.spellings import speller_of

    found = speller_of(subject.loaded.model, subject.loaded.processor).spellings(word)
    if not found:
        raise BadInput(f"no token of this model is {word!r}")
    return found[0].id
