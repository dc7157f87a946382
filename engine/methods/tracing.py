"""Causal tracing: at which row, and at which tokens, the answer is decided.

A clean run has one picture and a corrupt run another (or what stands in for it); the residual
stream that enters a layer at some positions is copied from the clean pass into the corrupt one,
and the pass runs on (Meng et al. 2022, arXiv 2202.05262; activation patching: Heimersheim and
Nanda 2024, arXiv 2404.15255).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, ClassVar, Final, Literal

from msgspec import Meta, Struct

from engine.arrays import Array, check_shape
from engine.methods.method import Method, Stop, Subject
from engine.records import (
    MOST_LAYERS,
    Layer,
    NonNegative,
    Number,
    Part,
    Positive,
    Reading,
    Request,
    Run,
    RunId,
    Short,
    Token,
)
from engine.tables import Table

What = Literal["stream", "attention", "mlp"]
Direction = Literal["recover", "break"]

SITES: Final = ("picture", "question", "last")
"""The sites that are patched if none are named."""
NAMES: Final = ("picture", "question", "last", "features", "all")
"""The picture's tokens; the tokens of the prompt as it was typed, but for the position that is
read; that position; what the picture adds to the stream between layers (in models that do so); and
every position up to the one that is read. Anything else is positions: "7", "12-20", "3,12-20"."""
MOST_SITES: Final = 100

Sites = Annotated[tuple[Annotated[str, Meta(max_length=1000)], ...], Meta(max_length=MOST_SITES)]


class TracingRequest(Request, frozen=True):
    """What is patched into what."""

    own_pass: ClassVar[bool] = True

    against: Short = "noise"
    """The corrupt run: a counterfactual that leaves every token in its place, or the id of a run of
    the same prompt on another picture."""
    sites: Sites = ()
    """SITES if empty."""
    what: What = "stream"
    """What is copied: the residual stream entering a layer, or what its attention or its MLP adds
    to the stream."""
    window: Positive = 1
    """In how many layers at once an attention or MLP is copied: one alone rarely carries much. The
    stream needs one."""
    direction: Direction = "recover"
    """"recover": the clean run's values go into the corrupt pass, and show what suffices. "break":
    the corrupt run's go into the clean pass, and show what is needed. The two are not each other's
    complement."""
    position: int = -1
    """The position whose logits are compared; negative ones count back from the last token of the
    prompt."""
    of: Annotated[tuple[Short, ...], Meta(max_length=2)] = ()
    """One word, whose log-probability is the metric, or two, whose logits' difference is. If empty:
    the answers of the two runs; where they agree, the answer's log-probability."""
    rows: Annotated[tuple[Layer, ...], Meta(max_length=MOST_LAYERS)] = ()
    """Which rows are patched; all if empty."""


class Site(Struct, frozen=True):
    """Where values are copied."""

    name: Short
    positions: Annotated[tuple[NonNegative, ...], Meta(max_length=2**20)]
    """Ascending; none for "features"."""
    reason: Short | None = None
    """Why it was not patched; its numbers are NaN then."""


class Metric(Struct, frozen=True):
    """What is compared, in logits or nats."""

    of: Annotated[tuple[Token, ...], Meta(min_length=1, max_length=2)]
    """The token whose log-probability it is, or the two whose logits' difference it is. The
    probabilities and logits are those of the clean run."""
    clean: Number | None
    corrupt: Number | None


class TracingPart(Part, frozen=True):
    """What has been patched so far."""

    sites: tuple[Site, ...]
    rows: tuple[Layer, ...]
    recovery: Array
    """As in the reading; NaN where nothing was patched yet."""
    metric: Metric
    done: NonNegative
    orders: Positive
    """How many passes there will be."""


class TracingReading(Reading, frozen=True, kw_only=True, tag="tracing"):
    """How much of the metric's difference every site and row brings back, or takes away."""

    request: TracingRequest
    position: NonNegative
    """Index into the run's tokens."""
    against: RunId
    """The corrupt run."""
    sites: Annotated[tuple[Site, ...], Meta(min_length=1, max_length=MOST_SITES)]
    rows: Annotated[tuple[Layer, ...], Meta(min_length=1, max_length=MOST_LAYERS + 1)]
    """Ascending. Of attention and MLPs: the first layer of each window."""
    recovery: Array
    """float32 [sites, rows]: (patched - corrupt) / (clean - corrupt); with "break" (clean -
    patched) / (clean - corrupt). 1 is all of the difference; it may lie below 0 or above 1."""
    metric: Metric
    notes: Annotated[tuple[Short, ...], Meta(max_length=100)] = ()

    @property
    def refers_to(self) -> tuple[RunId, ...]:
        """The corrupt run."""
        return (self.against,)

    def __post_init__(self) -> None:
        if isinstance(self.recovery, Array):
            check_shape("recovery", self.recovery, "<f4", (len(self.sites), len(self.rows)))

    def misfit(self, run: Run) -> str | None:
        """See `Reading.misfit`."""
        if self.position >= len(run.tokens):
            return f"position {self.position} of {len(run.tokens)} tokens"
        if max(self.rows) > run.layers:
            return f"rows beyond {run.layers}"
        if any(place >= len(run.tokens) for site in self.sites for place in site.positions):
            return f"positions beyond {len(run.tokens)} tokens"
        return None


class Tracing(Method[TracingRequest, TracingReading]):
    """Runs a pass for every site and row, coarse to fine."""

    name: ClassVar[str] = "tracing"
    title: ClassVar[str] = "At which row and tokens the answer is decided"
    request = TracingRequest
    reading = TracingReading

    def read(
        self, subject: Subject, request: TracingRequest, stop: Stop
    ) -> Iterator[TracingPart | TracingReading]:
        """Patch every site at every row."""
        raise NotImplementedError

    def tables(self, reading: TracingReading) -> tuple[Table, ...]:
        """A line a row, a column a site."""
        raise NotImplementedError
