"""What a method is: asked with a `Request` about a `Subject`, it finds a `Reading`.

A method is one module in this room and one line in `registry.py`. Its module must be importable
without torch: a session is reopened, printed and copied on machines that have none. What needs
torch is imported inside `read`.
"""

from __future__ import annotations

import re
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from msgspec import structs

from engine.counterfactuals.grammar import label, written
from engine.errors import BadInput, CannotRead, Remedy
from engine.records import Part, Reading, Request, Run
from engine.tables import Table

if TYPE_CHECKING:
    from engine.lens.kept import KeptStream
    from engine.models.loading import LoadedModel

RequestT = TypeVar("RequestT", bound=Request)
ReadingT = TypeVar("ReadingT", bound=Reading)

Stop = Callable[[], bool]
"""Whether what runs should end; a method that finds it true raises Cancelled."""

_RUN_ID = re.compile("[0-9a-f]{16}")
NOT_KEPT = "this run's stream is no longer kept: run it again to read more from it"


@dataclass(frozen=True)
class Subject:
    """What a method reads from: a run, the model that answered, and what its pass has left."""

    loaded: LoadedModel
    run: Run
    inputs: Mapping[str, Any]
    """What the model received, tensors on the CPU."""
    stream: KeptStream | None = None
    """The residual stream at the position that was read; None where it is no longer kept."""
    others: Mapping[str, Subject] = field(default_factory=dict)
    """Other runs of this model of which more can be read, by id."""

    @property
    def kept(self) -> KeptStream:
        """The kept stream. Raises BadInput where it is gone."""
        if self.stream is None:
            raise BadInput(NOT_KEPT, Remedy.RUN_AGAIN)
        return self.stream

    def against(self, reference: str) -> Subject:
        """Another run: by its id, or the last one of this question that has the counterfactual of
        that name ("none", "noise=500"). Raises BadInput where there is none."""
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
    """One way to find out more about a run. A method keeps nothing between two readings."""

    name: ClassVar[str]
    """What `--read` and the session file call it: the tag of its reading."""
    title: ClassVar[str]
    """A whole phrase, for lists and headings."""
    request: type[RequestT]
    reading: type[ReadingT]
    background: ClassVar[bool] = False
    """Whether it gives way to everything else: between two things that it yields (at most 50 ms
    apart) any other order is carried out, and a new run cancels it."""

    def supports(self, subject: Subject) -> str | None:
        """Why this method cannot be used on this run of this model; None where it can."""
        return None

    def needs(self, request: RequestT) -> tuple[str, ...]:
        """The counterfactuals (as `--against` writes them) that must have been asked before."""
        return ()

    @abstractmethod
    def read(self, subject: Subject, request: RequestT, stop: Stop) -> Iterator[Part | Reading]:
        """Yield parts as they are found, if the method hands any out, and last the whole reading.

        Raises BadInput for a request that cannot be answered, CannotRead where the model does not
        permit it, Cancelled soon after `stop()` is true.
        """

    @abstractmethod
    def tables(self, reading: ReadingT) -> tuple[Table, ...]:
        """What was found, as tables without a look."""


def carry_out(
    method: Method[Any, Any], subject: Subject, request: Request, stop: Stop
) -> Iterator[Part | Reading]:
    """What the method yields, its last reading with the seconds that it took.

    Raises CannotRead with the reason where the method does not support the subject, and what
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
    """Let a method read to its end; parts are passed over. Raises as `carry_out`."""
    *_, reading = carry_out(method, subject, request, stop)
    assert isinstance(reading, Reading)
    return reading
