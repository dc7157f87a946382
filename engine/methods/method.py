"""The interface of a method: given a `Request` about a `Subject`, it makes a `Reading`.

A method is one module in this package and one line in `registry.py`. Its module must be importable
without torch, because sessions are reopened, printed and copied on machines that do not have it;
what needs torch is imported inside `read`.
"""

from __future__ import annotations

import re
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from msgspec import structs

from engine.counterfactuals.grammar import label, written
from engine.errors import BadInput, CannotRead, Remedy
from engine.methods.everywhere import Everywhere, answer_up_to, resolved
from engine.records import Part, Reading, Request, Run
from engine.tables import Table

if TYPE_CHECKING:
    from engine.lens.grid import GridFill
    from engine.lens.kept import KeptStream
    from engine.lens.streams import Streams
    from engine.models.loading import LoadedModel

RequestT = TypeVar("RequestT", bound=Request)
ReadingT = TypeVar("ReadingT", bound=Reading)

Stop = Callable[[], bool]
"""Whether to stop; a method that finds it true raises Cancelled."""

_RUN_ID = re.compile("[0-9a-f]{16}")
NO_PASS = "this run has not been asked"
NOT_KEPT = "this run's stream is no longer kept: run it again to read more from it"


@dataclass(frozen=True)
class Subject:
    """What a method reads from: a run, the model that answered, and what is kept of its pass."""

    loaded: LoadedModel
    run: Run
    inputs: Mapping[str, Any]
    """What the model received; tensors are on the CPU."""
    stream: KeptStream | None = None
    """The residual stream at the position that was read; None if it is no longer kept."""
    others: Mapping[str, Subject] = field(default_factory=dict)
    """Run id -> another kept run of this model."""
    everywhere: Everywhere = field(default_factory=lambda: Everywhere(NO_PASS))
    """The streams at all positions."""

    @property
    def kept(self) -> KeptStream:
        """The kept stream. Raises BadInput if it is no longer kept."""
        if self.stream is None:
            raise BadInput(NOT_KEPT, Remedy.RUN_AGAIN)
        return self.stream

    def kept_at(self, position: int | None) -> KeptStream:
        """The kept stream at a position; None is the run's own. Raises BadInput if it is no longer
        kept."""
        place = self.place(position)
        if place is None:
            return self.kept
        return self.streams([place]).at(place)[0]

    def streams(self, positions: Sequence[int] = ()) -> Streams:
        """See `Everywhere.streams`."""
        return self.everywhere.streams(self.loaded.lens, self.run, self.inputs, positions)

    def fill(self, positions: Sequence[int] = (), **wanted: Any) -> GridFill:
        """See `Everywhere.fill`."""
        return self.everywhere.fill(self.loaded.lens, self.run, self.inputs, positions, **wanted)

    def reaching(self, positions: Sequence[int]) -> Subject:
        """The same run with the tokens of its answer up to the largest of these positions (indices)
        as the last ones of its inputs and tokens, for a pass of its own; itself if all of the
        positions are in the prompt. Only what it received and its tokens differ."""
        return self.followed_by(answer_up_to(self.run, max(positions)))

    def followed_by(self, ids: Sequence[int]) -> Subject:
        """The same run with these tokens as the last ones of its inputs and tokens; itself if there
        are none."""
        if not ids:
            return self
        from engine.prompts.extended import answer_prompt_tokens, extended

        model, processor = self.loaded.model, self.loaded.processor
        added = answer_prompt_tokens(model, processor, ids)
        return replace(
            self,
            run=structs.replace(self.run, tokens=(*self.run.tokens, *added)),
            inputs=extended(model, self.inputs, ids),
        )

    def place(self, position: int | None) -> int | None:
        """A position as an index into the run's tokens and those of its answer; None if it is the
        run's own.

        Raises BadInput if it is out of range.
        """
        if position is None:
            return None
        (place,) = resolved(self.run, [position])
        return None if place == self.run.position else place

    def visited(self, position: int | None) -> int | None:
        """As `place`, for adding to what was read at a position.

        Raises BadInput if it has not been visited.
        """
        place = self.place(position)
        if place is not None and all(other.position != place for other in self.run.others):
            raise BadInput(f"position {place} has not been visited: nothing can be added to it")
        return place

    def against(self, reference: str) -> Subject:
        """Another kept run, by its id or by its counterfactual ("none", "noise=500").

        By counterfactual it is the newest such run of the same question. Raises BadInput if there
        is none.
        """
        if reference in self.others:
            return self.others[reference]
        for other in reversed([*self.others.values()]):
            counterfactual = other.run.question.counterfactual
            if counterfactual is None or not self._asks_the_same(other.run):
                continue
            if reference in (counterfactual.name, written(counterfactual), label(counterfactual)):
                return other
        if _RUN_ID.fullmatch(reference):
            raise BadInput(NOT_KEPT, Remedy.RUN_AGAIN)
        raise BadInput(f"there is no kept run with {reference} instead of this run's picture")

    def _asks_the_same(self, other: Run) -> bool:
        mine, its = self.run.question, other.question
        names = ("prompt", "picture", "chat", "system", "prefix")
        return all(getattr(mine, name) == getattr(its, name) for name in names)


class Method(ABC, Generic[RequestT, ReadingT]):
    """One way to find out more about a run. A method has no state between two readings."""

    name: ClassVar[str]
    """The name for `--read` and in the session file; the tag of its reading type."""
    title: ClassVar[str]
    """A phrase that says what it finds, for lists and headings."""
    request: type[RequestT]
    reading: type[ReadingT]
    background: ClassVar[bool] = False
    """Whether it gives way to all other work: other orders run between two things that it yields,
    which must be at most 50 ms apart, and a new run cancels it."""

    def supports(self, subject: Subject) -> str | None:
        """Why this method cannot read this run; None if it can."""
        return None

    def needs(self, request: RequestT) -> tuple[str, ...]:
        """The counterfactuals, written as for `--against`, that must have been asked before."""
        return ()

    @abstractmethod
    def read(
        self, subject: Subject, request: RequestT, stop: Stop
    ) -> Iterator[Part | Reading | None]:
        """Yield parts of the reading as they are found (optional), and the whole reading last.

        A method in the background yields None where it has found nothing yet and other orders may
        run.

        Raises BadInput for a request that cannot be answered, CannotRead if the model does not
        allow it, Cancelled soon after `stop()` is true.
        """

    @abstractmethod
    def tables(self, reading: ReadingT) -> tuple[Table, ...]:
        """The reading as tables of plain values, without any formatting."""


def carry_out(
    method: Method[Any, Any], subject: Subject, request: Request, stop: Stop
) -> Generator[Part | Reading | None, None, None]:
    """Yield what the method yields; its reading gets the seconds that it took.

    Raises CannotRead, with the reason, if the method does not support the subject, and whatever
    `Method.read` raises.
    """
    reason = method.supports(subject)
    if reason is not None:
        raise CannotRead(f"{method.name}: {reason}")
    began = time.perf_counter()
    for found in method.read(subject, request, stop):
        if isinstance(found, Reading):
            yield structs.replace(found, seconds=time.perf_counter() - began)
            return
        yield found
    raise RuntimeError(f"{method.name} has ended without a reading")


def read_whole(
    method: Method[Any, Any], subject: Subject, request: Request, stop: Stop = lambda: False
) -> Reading:
    """Let a method read to its end, and return the reading. Raises what `carry_out` raises."""
    *_, reading = carry_out(method, subject, request, stop)
    assert isinstance(reading, Reading)
    return reading
