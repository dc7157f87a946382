"""Passes over one question into which values of a pass over another are put, row by row."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal, NamedTuple

import torch
from torch import Tensor

from engine.anatomy.hooks import evaluating
from engine.anatomy.layer_sums import LayerSum, Term
from engine.anatomy.logit_map import difference, tolerance
from engine.errors import BadInput, Cancelled, CannotRead
from engine.lens.lens import Lens, model_lock
from engine.lens.reading_parts import Sums, sums_of
from engine.lens.repeated import RepeatedPasses, Stop
from engine.lens.unit_groups import is_mlp
from engine.passes.collating import most_at_once
from engine.passes.edits import Attached
from engine.passes.forward import Forward
from engine.passes.layer_watches import TermWatch
from engine.passes.part_edits import Written
from engine.passes.row_patches import Features, RowEdit, RowPatch, RowsWatch
from engine.passes.unit_watches import UnitWatch
from engine.system.memory import is_out_of_memory

What = Literal["stream", "attention", "mlp"]

NO_FEATURES: Final = (
    "nothing of the picture reaches the layers of this model but through the stream at row 0"
)
NOT_EVERYTHING: Final = (
    "with every row at every position put into the other pass, its logits still differ by {error} "
    "({tolerance} allowed): the layers of this model use more than what they are seen to be given"
)
NOT_FINITE: Final = "the logits of its passes are not all numbers"
NO_SUCH_PART: Final = "no layer of this model adds to its stream the output of such a part"


class Where(NamedTuple):
    """A site, as it is patched."""

    positions: tuple[int, ...]
    """Ascending."""
    features: bool = False
    """Whether what layers are given beside the stream is put, too, from the row on."""


NOWHERE: Final = Where(())


class _Edit(NamedTuple):
    """A part of a layer that is put."""

    layer: int
    term: Term
    output: Tensor
    """[positions, *rest]"""
    kept: Tensor | None
    """int64 [n], ascending: the positions that `output` has, if not all."""
    positions: list[Tensor]
    """For each item of the batch, int64 [n]."""


@dataclass(frozen=True)
class TracingProof:
    """What was found when everything was put, and nothing."""

    row: int
    """The row at which everything was put: the middle one; 0 where everything at the middle row is
    not all that later layers use."""
    everything: float
    """The largest difference of the logits then from those of the pass that it comes from."""
    nothing: float
    """The same for nothing, and for a pass's own values put into itself, from that pass."""
    tolerance: float
    """Of `everything`; `nothing` must be 0."""

    @property
    def passed(self) -> bool:
        """Whether everything is everything, and nothing is nothing."""
        return self.everything <= self.tolerance and self.nothing == 0.0


class Tracings:
    """Runs passes over the inputs of one run, into which values of another run's pass are put.

    The modules that return before the first layer run once for all passes, and a pass begins at the
    row that is patched, where either is seen to change no bit of a pass in which nothing is put.
    """

    def __init__(
        self,
        lens: Lens,
        into: Mapping[str, Any],
        source: Mapping[str, Any],
        position: int,
        sites: Sequence[Where],
        what: What = "stream",
        window: int = 1,
        stop: Stop = lambda: False,
    ) -> None:
        """Runs the two plain passes, and the passes in which nothing and everything is put; both
        inputs are batches of one with the same tokens.

        `position` is that whose logits are read. `window` is how many layers of an attention or MLP
        are put at once. Raises CannotRead if the model cannot be read, adds no such part to its
        stream, or if everything that is put is not everything that the layers use; Cancelled within
        one layer after `stop()` is true.
        """
        self._lens, self._position, self._stop = lens, position, stop
        self._what, self._window = what, window
        self._inputs = into, source
        self._passes = RepeatedPasses(lens, into, [position], stop)
        self._source_passes = RepeatedPasses(lens, source, [position], stop)
        self.layers = len(self._passes.parts.layers)
        self._passes.remember()
        self.into, self._own = self._keep(self._passes, sites)
        """float32 [vocabulary], as is `source`: the logits of the plain pass."""
        self.source, self._kept = self._keep(self._source_passes, sites)
        self.length = self._passes.length
        if bool(self.into.isnan().any() | self.source.isnan().any()):
            raise CannotRead(NOT_FINITE)
        self._batched: dict[int, RepeatedPasses] = {}
        self._most = 0
        self._features = Features.of(self._kept, self._own)
        self._starts = self._own.positions is None
        """Whether passes may begin at a row; False once that has changed anything."""
        self._started: dict[int, bool] = {}
        nothing = self._run(0, [self._patch(NOWHERE, self._kept)])[0]
        if not nothing.equal(self.into):
            self._passes.forget()
            nothing = self._run(0, [self._patch(NOWHERE, self._kept)])[0]
        self._nothing = difference(nothing, self.into)
        self._everything, self._proved_at = self._put_everything()
        self._misses = self._proved_at != self._middle or any(
            self._missed(row) > self._tolerance for row in self._later
        )
        self._sums: Sums = ()
        self._terms: dict[tuple[int, int], Tensor] = {}
        self._some: Tensor | None = None
        if what != "stream":
            self._sums = self._terms_put(lens)
            self._put_own_terms(sites)
            self._terms = self._keep_terms(self._source_passes, sites)
            if all(self.lacks(row) for row in range(self.layers)):
                raise CannotRead(NO_SUCH_PART)

    @property
    def no_features(self) -> str | None:
        """Why features cannot be put; None if they can."""
        return None if self._features else NO_FEATURES

    @property
    def rows(self) -> range:
        """What can be patched: every row; or the first layers of every window."""
        if self._what == "stream":
            return range(self.layers + 1)
        return range(max(1, self.layers - self._window + 1))

    def lacks(self, row: int) -> bool:
        """Whether there is nothing to be put at a row: no layer of the window adds such a part."""
        return self._what != "stream" and {*self._layers(row)} <= {*self.lacking}

    @property
    def lacking(self) -> tuple[int, ...]:
        """The layers that add no such part; none for the stream."""
        layers = range(self.layers if self._what != "stream" else 0)
        return tuple(layer for layer in layers if not self._of(layer))

    def patched(self, row: int, sites: Sequence[Where]) -> Iterator[Tensor]:
        """Yield the logits of the position, float32 [sites, vocabulary], for some of the sites at a
        time, in their order.

        Raises Cancelled within one layer after `stop()` is true.
        """
        waiting = [*sites]
        while waiting:
            alike = next((i for i, where in enumerate(waiting) if where.features), len(waiting))
            some = waiting[: max(1, min(alike, self.most_at_once))]
            del waiting[: len(some)]
            yield self._patched(row, some)

    def prove(self) -> TracingProof:
        """What everything and nothing have given, and a pass's own values put into itself."""
        own = Where((*range(self.length),))
        itself = self._run(self._middle, [self._patch(own, self._own)])[0]
        return TracingProof(
            row=self._proved_at,
            everything=self._everything,
            nothing=max(self._nothing, difference(itself, self.into)),
            tolerance=self._tolerance,
        )

    @property
    def looks_past_the_stream(self) -> bool:
        """Whether everything at the middle row, or at one of those after it that were tried, is not
        everything: later layers also use what earlier ones have left beside the stream, such as
        their keys and values."""
        return self._misses

    @property
    def most_at_once(self) -> int:
        """How many sites are put in one pass."""
        if not self._most:
            self._most = self._batch_size()
        return self._most

    def _batch_size(self) -> int:
        if not batches_pay(self._lens.device):
            return 1
        into, source = self._inputs
        most = most_at_once(self._lens.model, into, self._lens.device)
        if most < 2 or self._lens.batches.refusal([into, source], self._stop) is not None:
            return 1
        row = self._middle
        nothing = [self._patch(NOWHERE, self._kept)] * 2
        both = self._run(row, nothing, start=self._may_start(row))
        return most if difference(both, self.into.expand_as(both)) <= self._tolerance else 1

    @property
    def _middle(self) -> int:
        return self.layers // 2

    @property
    def _later(self) -> tuple[int, ...]:
        """The row that enters the last layer, and one between it and the middle: what later layers
        look at may be left by layers after the middle one."""
        last = self.layers - 1
        between = (self._middle + last) // 2
        return tuple(sorted({row for row in (between, last) if row > self._middle}))

    @property
    def _tolerance(self) -> float:
        return tolerance(self._passes.parts.dtype, self.source)

    def _put_everything(self) -> tuple[float, int]:
        """By how much everything misses, and at which row it was put."""
        error = 0.0
        for row in (self._middle, 0):
            error = self._missed(row)
            if error <= self._tolerance:
                return error, row
        told = {"error": f"{error:.3g}", "tolerance": f"{self._tolerance:.3g}"}
        raise CannotRead(NOT_EVERYTHING.format(**told))

    def _missed(self, row: int) -> float:
        """By how much the logits differ from the source's with everything put at a row."""
        everywhere = Where((*range(self.length),), features=True)
        patches = [self._patch(everywhere, self._kept)]
        given = self._run(row, patches, start=self._may_start(row))[0]
        return difference(given, self.source)

    def _keep(self, passes: RepeatedPasses, sites: Sequence[Where]) -> tuple[Tensor, RowsWatch]:
        """The logits of a plain pass, and its rows: at all positions, or, if these do not fit, at
        those of the sites, and those where everything is put."""
        for positions in (None, _positions_in(sites)):
            forward = passes.forward()
            watch = RowsWatch(forward, positions, {0, self._middle, *self._later})
            try:
                return passes.run([watch], forward)[0], watch
            except BadInput:
                if positions is not None:
                    raise
        raise AssertionError

    def _terms_put(self, lens: Lens) -> Sums:
        """What is put of what each layer adds."""
        passes, source = self._source_passes, self._inputs[1]
        every = sums_of(lens, passes, source)
        if self._what == "attention":
            return tuple(_only(each, lambda term: term.attends) for each in every)
        forward = passes.forward()
        watch = UnitWatch(forward, every, range(len(every)))
        passes.run([watch], forward)
        with model_lock(lens.model), evaluating(lens.model):
            return tuple(
                _only(each, partial(is_mlp, layer, watch=watch)) for layer, each in enumerate(every)
            )

    def _put_own_terms(self, sites: Sequence[Where]) -> None:
        """See what a pass's own terms change in it. They are let go before others are kept."""
        terms = self._keep_terms(self._passes, sites)
        places = range(self.length) if self._some is None else self._some.tolist()
        own = self._edits(range(self.layers), [Where((*places,))], terms)
        itself = self._run(0, [self._patch(NOWHERE, self._own)], own)[0]
        self._nothing = max(self._nothing, difference(itself, self.into))

    def _keep_terms(
        self, passes: RepeatedPasses, sites: Sequence[Where]
    ) -> dict[tuple[int, int], Tensor]:
        """The terms of a plain pass, at all positions, or, if these do not fit, at those of the
        sites."""
        while True:
            forward = passes.forward()
            watch = TermWatch(forward, self._sums, everywhere=True, positions=self._some)
            try:
                passes.run([watch], forward)
            except BadInput:
                if self._some is not None:
                    raise
                self._some = _positions_in(sites)
            else:
                return watch.terms

    def _of(self, layer: int) -> list[tuple[int, Term]]:
        """The terms of a layer that are put, with their indices."""
        of = self._sums[layer]
        return [*enumerate(of.terms if of is not None else ())]

    def _layers(self, row: int) -> range:
        return range(row, min(row + self._window, self.layers))

    def _patch(self, where: Where, kept: RowsWatch) -> RowPatch:
        features = self._features if where.features else None
        return RowPatch(kept, torch.tensor(where.positions, dtype=torch.int64), features)

    def _edits(
        self, layers: Sequence[int], sites: Sequence[Where], terms: Mapping[tuple[int, int], Tensor]
    ) -> list[_Edit]:
        positions = [torch.tensor(where.positions, dtype=torch.int64) for where in sites]
        return [
            _Edit(layer, term, terms[layer, index], self._some, positions)
            for layer in layers
            for index, term in self._of(layer)
            if (layer, index) in terms
        ]

    def _patched(self, row: int, sites: Sequence[Where]) -> Tensor:
        if self._what == "stream":
            patches = [self._patch(where, self._kept) for where in sites]
            return self._run(row, patches, start=self._may_start(row))
        nowhere = [self._patch(NOWHERE, self._kept) for _ in sites]
        edits = self._edits(self._layers(row), sites, self._terms)
        return self._run(row, nowhere, edits, self._may_start(row))

    def _may_start(self, row: int) -> bool:
        """Whether a pass may begin at a row: one in which nothing is put is seen to give the logits
        of the plain pass to the bit."""
        if not self._starts or self._own.entry(row) == min(self._own.rows):
            return False
        if row not in self._started:
            nothing = [self._patch(NOWHERE, self._own)]
            try:
                self._starts = self._run(row, nothing, start=True)[0].equal(self.into)
            except Cancelled:
                raise
            except Exception as error:
                if is_out_of_memory(error):
                    raise
                self._starts = False  # a later layer needs more of an earlier one than its row
            self._started[row] = self._starts
        return self._started[row]

    def _run(
        self,
        row: int,
        patches: Sequence[RowPatch],
        edits: Sequence[_Edit] = (),
        start: bool = False,
    ) -> Tensor:
        passes = self._passes_of(len(patches))
        forward: Forward = passes.forward()
        attached: list[Attached] = [
            RowEdit(forward, self._own.entry(row), patches, self._own if start else None)
        ]
        attached += [
            Written(
                forward,
                each.layer,
                each.term.module,
                each.term.call,
                output=each.output,
                kept=each.kept,
                positions=each.positions,
            )
            for each in edits
        ]
        return passes.run(attached, forward)

    def _passes_of(self, count: int) -> RepeatedPasses:
        if count == 1:
            return self._passes
        if count not in self._batched:
            together = self._lens.collated([self._inputs[0]] * count)
            made = RepeatedPasses(self._lens, together, [self._position], self._stop)
            if self._passes.vision is not None:
                made.remember()
            self._batched[count] = made
        return self._batched[count]


def batches_pay(device: torch.device) -> bool:
    """Whether several sites are to be put in one pass: not on a CPU, where that saves half of a
    small model's time, which is short, and nothing of a large one's; one by one, what is put is
    exact to the bit."""
    return device.type != "cpu"


def _only(of: LayerSum | None, wanted: Callable[[Term], bool]) -> LayerSum | None:
    """Some of what a layer adds."""
    if of is None:
        return None
    return LayerSum(tuple(term for term in of.terms if wanted(term)), of.kept)


def _positions_in(sites: Sequence[Where]) -> Tensor:
    some = sorted({place for where in sites for place in where.positions})
    return torch.tensor(some, dtype=torch.int64)
