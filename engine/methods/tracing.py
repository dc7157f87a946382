"""Causal tracing: at which row, and at which tokens, the answer is decided.

A clean run has one picture and a corrupt run another (or what stands in for it); the residual
stream that enters a layer at some positions is copied from the clean pass into the corrupt one,
and the pass runs on (Meng et al. 2022, arXiv 2202.05262; activation patching: Heimersheim and
Nanda 2024, arXiv 2404.15255).
"""

from __future__ import annotations

import math
import re
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, Literal

from msgspec import Meta, Struct, structs

from engine.arrays import Array, check_shape
from engine.errors import BadInput, CannotRead
from engine.methods.everywhere import resolved
from engine.methods.method import Method, Stop, Subject
from engine.methods.named_places import (
    check_length,
    is_written_out,
    named_places,
    written_out,
)
from engine.methods.without_picture import no_picture_to_replace
from engine.methods.word_ids import word_ids
from engine.records import (
    MOST_LAYERS,
    Layer,
    NonNegative,
    Number,
    Part,
    Positive,
    Reading,
    ReadingProof,
    Request,
    Run,
    RunId,
    Short,
    Token,
    finite,
)
from engine.tables import Column, Table

if TYPE_CHECKING:
    from torch import Tensor

    from engine.lens.tracing import Tracings, Where

What = Literal["stream", "attention", "mlp"]
Direction = Literal["recover", "break"]

SITES: Final = ("picture", "question", "last")
"""The sites that are patched if none are named; and "features" in models that have such."""
NAMES: Final = ("picture", "question", "last", "features", "all")
"""The picture's tokens; the tokens of the prompt as it was typed, but for the position that is
read; that position; what the picture adds to the stream between layers, and what layers are given
of it beside the stream, from the row on (in models that do either); and every position up to the
one that is read. Anything else is positions: "7", "12-20", "3,12-20", or "3+12-20" where a comma
separates sites."""
MOST_SITES: Final = 100
NO_TOKENS: Final = "this run has no such tokens"
STREAM_ONLY: Final = "it is put with the stream alone, not with attentions or MLPs"
PROVED: Final = (
    "the logits with everything put at row {row} against those of the pass that it comes from; and "
    "with nothing put, and with a pass's own values put into itself, against that pass to the bit"
)
PAST_THE_STREAM: Final = (
    "From some row on, layers of this model also use what earlier ones have left beside the stream "
    "(keys and values of other layers, or the like), which stays that of the other run."
)
LACKING: Final = "Layers {layers} add no such part to the stream that can be told apart."
NOT_NUMBERS: Final = "In {count} of the passes the logits were not all numbers."
_RUN_ID: Final = re.compile("[0-9a-f]{16}")

Sites = Annotated[tuple[Annotated[str, Meta(max_length=1000)], ...], Meta(max_length=MOST_SITES)]


class TracingRequest(Request, frozen=True):
    """What is patched into what."""

    own_pass: ClassVar[bool] = True

    against: Short = "noise-pure"
    """The corrupt run: a counterfactual that leaves every token in its place, or the id of a run of
    the same prompt on another picture. With "noise", a picture can still be told."""
    sites: Sites = ()
    """SITES if empty."""
    what: What = "stream"
    """What is copied: the residual stream entering a layer, or what its attention or its MLP (all
    that acts on every position by itself) adds to the stream."""
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

    def fulfils(self, request: Request) -> bool:
        """Whether it is what a request asks for, whichever way that names the other run."""
        if not isinstance(request, TracingRequest):
            return False
        names = (self.request.against, self.against)
        same = structs.replace(request, against=self.request.against) == self.request
        return same and request.against in names

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

    def supports(self, subject: Subject) -> str | None:
        """A reason if the run has no picture that could be another."""
        return no_picture_to_replace(subject)

    def needs(self, request: TracingRequest) -> tuple[str, ...]:
        """The counterfactual that is the corrupt run, unless that is named by its id."""
        return () if _RUN_ID.fullmatch(request.against) else (request.against,)

    def read(
        self, subject: Subject, request: TracingRequest, stop: Stop
    ) -> Iterator[TracingPart | TracingReading]:
        """Patch every site at row 0, at the last row, and at the rows between, halving the gaps.

        Raises BadInput for a site, position, row or word that there is not, for a corrupt run whose
        tokens are not those of this run in the same places, and if the two runs hardly differ in
        the metric; CannotRead if what the model's layers use cannot be put into another pass.
        """
        from engine.lens.tracing import Tracings

        if request.what == "stream" and request.window != 1:
            raise BadInput("the stream is patched at one row at a time: its window is 1")
        run = subject.run
        (position,) = resolved(run, [request.position])
        if position >= len(run.tokens):
            raise BadInput(f"position {position} is a token of the answer, not of the prompt")
        other = subject.against(request.against)
        check_same_places(subject, other)
        named = _named(run, request, position)
        into, source = other.inputs, subject.inputs
        if request.direction == "break":
            into, source = source, into
        passes = Tracings(
            subject.loaded.lens,
            into,
            source,
            position,
            [*named.values()],
            request.what,
            request.window,
            stop,
        )
        check_length(run, passes.length)
        if request.window > passes.layers:
            raise BadInput(f"the model has {passes.layers} layers: a window cannot have more")
        found = _Found(subject, request, passes, named)
        rows = [row for row in found.in_order if not passes.lacks(row)]
        cells = len(rows) * len(found.open_sites)
        done = 0
        for row in rows:
            sites = found.open_sites
            for logits in passes.patched(row, [where for _, where in sites]):
                some = sites[: len(logits)]
                sites = sites[len(logits) :]
                found.take(row, [index for index, _ in some], logits)
                done += len(some)
                yield found.part(done, cells)
        proof = passes.prove()
        yield TracingReading(
            request=request,
            proof=ReadingProof(
                what=PROVED.format(row=proof.row),
                error=finite(max(proof.everything, proof.nothing)),
                tolerance=proof.tolerance,
                passed=proof.passed,
            ),
            position=position,
            against=other.run.id,
            sites=found.sites,
            rows=found.rows,
            recovery=found.array,
            metric=found.metric,
            notes=found.notes(),
        )

    def tables(self, reading: TracingReading) -> tuple[Table, ...]:
        """A line a row, a column a site."""
        request, window = reading.request, reading.request.window
        first = "row" if request.what == "stream" else "layer"
        columns = (
            Column("layers") if window > 1 else Column(first, "count"),
            *(Column(site.name, "number", decimals=3) for site in reading.sites),
        )
        lines = tuple(
            (
                f"{row}-{row + window - 1}" if window > 1 else row,
                *(None if math.isnan(value) else value for value in column),
            )
            for row, column in zip(reading.rows, reading.recovery.values.T.tolist(), strict=True)
        )
        what = {"stream": "the residual stream", "attention": "attention", "mlp": "MLPs"}
        does = "comes back" if request.direction == "recover" else "is taken away"
        title = f"tracing {what[request.what]} against {request.against}: how much {does}"
        return (Table(title, columns, lines, (*described(reading), *reading.notes)),)


class _Found:
    """The recoveries so far."""

    def __init__(
        self,
        subject: Subject,
        request: TracingRequest,
        passes: Tracings,
        named: Mapping[str, Where],
    ) -> None:
        """Raises BadInput for a row that there is not, if no site is left, and if the two runs
        hardly differ."""
        import numpy as np

        self._passes, self._request = passes, request
        last = passes.rows[-1]
        if any(row > last for row in request.rows):
            raise BadInput(f"there is no row {max(request.rows)}: they go from 0 to {last}")
        self.rows = tuple(sorted({*request.rows})) or tuple(passes.rows)
        self._broken = 0
        self._ids: list[int] = []
        self.metric = self._compared(subject)
        if not request.sites and self._why(named["features"]) is not None:
            named = {name: where for name, where in named.items() if name != "features"}
        self._named = [*named.items()]
        self.sites = tuple(
            Site(name, where.positions, self._why(where)) for name, where in named.items()
        )
        if not self.open_sites:
            told = "; ".join(f"{site.name}: {site.reason}" for site in self.sites)
            raise BadInput(f"there is nothing to patch: {told}")
        self._recovery = np.full((len(self.sites), len(self.rows)), np.nan, np.float32)

    @property
    def in_order(self) -> tuple[int, ...]:
        """The rows, coarse to fine."""
        return tuple(self.rows[index] for index in coarse_to_fine(len(self.rows)))

    @property
    def open_sites(self) -> list[tuple[int, Where]]:
        """The sites that can be patched, with their indices."""
        return [
            (index, where)
            for index, (site, (_, where)) in enumerate(zip(self.sites, self._named, strict=True))
            if site.reason is None
        ]

    @property
    def array(self) -> Array:
        """float32 [sites, rows]"""
        return Array.of(self._recovery, "<f4")

    def take(self, row: int, sites: Sequence[int], logits: Tensor) -> None:
        """Note what a pass has shown: float32 [sites, vocabulary]."""
        column = self.rows.index(row)
        begin, end = self._metric_of(self._passes.into), self._metric_of(self._passes.source)
        for site, each in zip(sites, logits, strict=True):
            share = (self._metric_of(each) - begin) / (end - begin)
            self._broken += not math.isfinite(share)
            self._recovery[site, column] = share

    def part(self, done: int, orders: int) -> TracingPart:
        """What is known so far."""
        return TracingPart(self.sites, self.rows, self.array, self.metric, done, orders)

    def notes(self) -> tuple[str, ...]:
        """What a reader has to know beside the numbers."""
        made = [PAST_THE_STREAM] if self._passes.looks_past_the_stream else []
        lacking = [str(layer) for layer in self._passes.lacking]
        if lacking:
            made.append(LACKING.format(layers=", ".join(lacking)))
        if self._broken:
            made.append(NOT_NUMBERS.format(count=self._broken))
        return tuple(made)

    def _why(self, where: Where) -> str | None:
        if where.features:
            stream = self._request.what == "stream"
            return self._passes.no_features if stream else STREAM_ONLY
        return None if where.positions else NO_TOKENS

    def _compared(self, subject: Subject) -> Metric:
        """The metric, which is one of the two runs' answers unless words are named."""
        from engine.prompts.token_texts import texts_for

        clean, corrupt = self._passes.source, self._passes.into
        if self._request.direction == "break":
            clean, corrupt = corrupt, clean
        if self._request.of:
            self._ids = word_ids(subject.loaded, self._request.of, len(clean))
        else:
            self._ids = [*dict.fromkeys((int(clean.argmax()), int(corrupt.argmax())))]
        text_of = texts_for(subject.loaded.model)
        shares = clean.softmax(-1)
        of = tuple(
            Token(each, text_of(each), float(shares[each]), finite(float(clean[each])))
            for each in self._ids
        )
        made = Metric(of, *(finite(self._metric_of(each)) for each in (clean, corrupt)))
        proof = subject.run.proof
        least = 0.0 if proof is None else proof.tolerance
        if made.clean is None or made.corrupt is None:
            raise CannotRead("the metric is not a number in both runs")
        if abs(made.clean - made.corrupt) <= least:
            apart = f"{abs(made.clean - made.corrupt):.2g}"
            raise BadInput(
                f"{_words(made)} is nearly the same in both runs, {apart} apart: there is no "
                "difference that could be traced"
            )
        return made

    def _metric_of(self, logits: Tensor) -> float:
        wide = logits.double()
        if len(self._ids) == 1:
            return float(wide.log_softmax(-1)[self._ids[0]])
        return float(wide[self._ids[0]] - wide[self._ids[1]])


def coarse_to_fine(count: int) -> tuple[int, ...]:
    """The numbers below `count`: the first, the last, then what halves each gap, the widest gaps
    first."""
    order = [*range(count)[:1], *range(count)[1:][-1:]]
    gaps = deque([(0, count - 1)])
    while gaps:
        first, last = gaps.popleft()
        if last - first > 1:
            middle = (first + last) // 2
            order.append(middle)
            gaps += [(first, middle), (middle, last)]
    return tuple(order)


def check_same_places(subject: Subject, other: Subject) -> None:
    """Raise BadInput, with what differs, unless two runs have the same tokens in the same places.

    What they received must be the same but for numbers that are no positions: the picture's pixels.
    """
    mine, its = subject.run.tokens, other.run.tokens
    if len(mine) != len(its):
        raise BadInput(
            f"the other run has {len(its)} tokens and this one {len(mine)}: values can only be "
            "put where both have the same tokens"
        )
    for place, (one, another) in enumerate(zip(mine, its, strict=True)):
        if one.id != another.id:
            raise BadInput(
                f"the other run has {another.text!r} at position {place} and this one "
                f"{one.text!r}: values can only be put where both have the same tokens"
            )
    for name in sorted(subject.inputs.keys() | other.inputs.keys()):
        values = subject.inputs.get(name), other.inputs.get(name)
        if not _agree(*values):
            raise BadInput(
                f"the other run's picture lies otherwise in its tokens ({name} differs): take a "
                "picture of the same size"
            )


def _agree(one: Any, other: Any) -> bool:
    """Whether two inputs are alike: pixels of one shape, and everything else the same."""
    from torch import Tensor, uint8

    if not isinstance(one, Tensor) or not isinstance(other, Tensor):
        return type(one) is type(other) and (isinstance(one, Tensor) or one == other)
    if (one.shape, one.dtype) != (other.shape, other.dtype):
        return False
    return one.is_floating_point() or one.dtype == uint8 or one.equal(other)


def _named(run: Run, request: TracingRequest, position: int) -> dict[str, Where]:
    """The sites that are asked for, by name. Raises BadInput for one that there is not."""
    from engine.lens.tracing import Where

    places = named_places(run, position)
    found: dict[str, Where] = {}
    for name in request.sites or (*SITES, "features"):
        if name == "features":
            found[name] = Where((), features=True)
        elif name in NAMES:
            found[name] = Where(tuple(places[name]))
        elif is_written_out(name):
            found[name] = Where(written_out(run, name))
        else:
            raise BadInput(
                f"tracing: sites={name}: write {', '.join(NAMES)}, or positions such as 7 or 12-20"
            )
        beyond = [place for place in found[name].positions if place >= len(run.tokens)]
        if beyond:
            raise BadInput(f"position {beyond[0]} is a token of the answer, not of the prompt")
    return found


def _words(metric: Metric) -> str:
    first, *second = [repr(each.text) for each in metric.of]
    if second:
        return f"the logit of {first} minus that of {second[0]}"
    return f"the log-probability of {first}"


def described(reading: TracingReading) -> tuple[str, ...]:
    """What was compared, in sentences."""
    metric = reading.metric
    clean, corrupt = (
        "not a number" if value is None else f"{value:.4g}"
        for value in (metric.clean, metric.corrupt)
    )
    source, into = "this run", f"the run with {reading.request.against}"
    if reading.request.direction == "break":
        source, into = into, source
    every = [f"{site.name}: {site.reason}." for site in reading.sites if site.reason is not None]
    return (
        f"The metric is {_words(metric)} at position {reading.position}: {clean} in this run, "
        f"{corrupt} with {reading.request.against} (run {reading.against}).",
        f"Values of {source} are put into {into}; 1 is all of the difference.",
        *every,
    )
