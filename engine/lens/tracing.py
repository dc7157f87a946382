"""Passes over one question into which values of a pass over another are put, row by row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

import torch
from torch import Tensor

from engine.anatomy.layer_sums import Term
from engine.anatomy.logit_map import difference, tolerance
from engine.errors import BadInput, Cancelled, CannotRead
from engine.lens.lens import Lens
from engine.lens.reading_parts import Sums, sums_of
from engine.lens.repeated import RepeatedPasses, Stop
from engine.passes.collating import most_at_once
from engine.passes.edits import Attached
from engine.passes.forward import Forward
from engine.passes.layer_watches import TermWatch
from engine.passes.part_edits import Written
from engine.passes.row_patches import Features, RowEdit, RowPatch, RowsWatch
from engine.system.memory import is_out_of_memory

What = Literal["stream", "attention", "mlp"]

NO_FEATURES: Final = (
    "nothing of the picture reaches the layers of this model but through the stream at row 0"
)
NO_ROOM: Final = (
    "what these layers are given beside the stream is only known if all rows fit into memory"
)
NO_SUCH_PART: Final = "no layer of this model adds to its stream the output of such a part"


class Where(NamedTuple):
    """A site, as it is patched."""

    positions: tuple[int, ...]
    """Ascending."""
    features: bool = False
    """Whether what layers are given beside the stream is put, too, from the row on."""


NOWHERE: Final = Where(())


@dataclass(frozen=True)
class TracingProof:
    """What was found when everything was put, and nothing."""

    row: int
    """The row at which everything was put."""
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
        """Runs the two plain passes; both inputs are batches of one with the same tokens.

        `position` is that whose logits are read. `window` is how many layers of an attention or MLP
        are put at once. Raises CannotRead if the model cannot be read, or adds no such part to its
        stream; Cancelled within one layer after `stop()` is true.
        """
        self._lens, self._position, self._stop = lens, position, stop
        self._what, self._window = what, window
        self._inputs = into, source
        self._passes = RepeatedPasses(lens, into, [position], stop)
        self._source_passes = RepeatedPasses(lens, source, [position], stop)
        self.layers = len(self._passes.parts.layers)
        self.middle = self.layers // 2
        self.into, self._own = self._keep(self._passes, sites)
        """float32 [vocabulary], as is `source`: the logits of the plain pass."""
        self.source, self._kept = self._keep(self._source_passes, sites)
        self.length = self._passes.length
        fits = self._own.positions is None and self._kept.positions is None
        self._features = Features.of(self._kept, self._own)
        self._reuse_vision()
        self._starts = fits
        """Whether passes may begin at a row; False from the first row on where that changes
        anything."""
        self._started: dict[int, bool] = {}
        self._sums: Sums = ()
        self._terms: dict[tuple[int, int], Tensor] = {}
        if what != "stream":
            self._sums = sums_of(lens, self._source_passes, source)
            self._terms = self._keep_terms(self._source_passes)
            if not any(self._of(layer) for layer in range(self.layers)):
                raise CannotRead(NO_SUCH_PART)
        self._batched: dict[int, RepeatedPasses | None] = {}
        self._most = 0

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
        return self._what != "stream" and not any(self._of(each) for each in self._layers(row))

    def patched(self, row: int, sites: Sequence[Where]) -> Iterator[Tensor]:
        """Yield the logits of the position, float32 [sites, vocabulary], for some of the sites at a
        time, in their order.

        Raises Cancelled within one layer after `stop()` is true.
        """
        most = self.most_at_once
        index = 0
        while index < len(sites):
            some = [*sites[index : index + most]]
            if any(where.features for where in some):
                some = some[:1]
            yield self._patched(row, some)
            index += len(some)

    def prove(self) -> TracingProof:
        """Put everything, nothing, and a pass's own values into passes."""
        row = self.middle
        everywhere = Where((*range(self.length),), bool(self._features))
        everything = self._run(row, [self._patch(everywhere, self._kept)], (), self._may_start(row))
        nothing = self._run(row, [self._patch(NOWHERE, self._kept)], ())
        itself = self._run(row, [self._patch(Where(everywhere.positions), self._own)], ())
        exact = [nothing, itself]
        if self._what != "stream":
            terms = self._keep_terms(self._passes)
            layers = [layer for layer in range(self.layers) if self._of(layer)]
            edits = self._edits(layers, [everywhere], terms)
            exact.append(self._run(row, [self._patch(NOWHERE, self._own)], edits))
        limit = tolerance(self._passes.parts.dtype, self.source)
        return TracingProof(
            row=row,
            everything=difference(everything[0], self.source),
            nothing=max(difference(each[0], self.into) for each in exact),
            tolerance=limit,
        )

    @property
    def most_at_once(self) -> int:
        """How many sites are put in one pass."""
        if not self._most:
            self._most = self._batch_size()
        return self._most

    def _batch_size(self) -> int:
        # On a CPU, a batch takes as long as its items one by one.
        if self._lens.device.type == "cpu" or self._passes.length == 0:
            return 1
        into, source = self._inputs
        most = most_at_once(self._lens.model, into, self._lens.device)
        if most < 2 or self._lens.batches.refusal([into, source], self._stop) is not None:
            return 1
        return most

    def _keep(self, passes: RepeatedPasses, sites: Sequence[Where]) -> tuple[Tensor, RowsWatch]:
        """The logits of a plain pass, and its rows: at all positions, or, if these do not fit, at
        those of the sites, and the middle row everywhere."""
        some = sorted({place for where in sites for place in where.positions})
        for positions in (None, torch.tensor(some, dtype=torch.int64)):
            forward = passes.forward()
            watch = RowsWatch(forward, positions, {self.middle})
            try:
                return passes.run([watch], forward)[0], watch
            except BadInput:
                if positions is not None:
                    raise
        raise AssertionError

    def _reuse_vision(self) -> None:
        self._passes.remember()
        for _ in range(2):  # the second takes from memory what the first has computed
            again = self._passes.run()[0]
        if not again.equal(self.into):
            self._passes.forget()

    def _keep_terms(self, passes: RepeatedPasses) -> dict[tuple[int, int], Tensor]:
        forward = passes.forward()
        watch = TermWatch(forward, self._sums, everywhere=True)
        passes.run([watch], forward)
        return watch.terms

    def _of(self, layer: int) -> list[tuple[int, Term]]:
        """The terms of a layer that are put, with their indices."""
        of = self._sums[layer]
        attends = self._what == "attention"
        return [
            (index, term)
            for index, term in enumerate(of.terms if of is not None else ())
            if term.attends is attends
        ]

    def _layers(self, row: int) -> range:
        return range(row, min(row + self._window, self.layers))

    def _patch(self, where: Where, kept: RowsWatch) -> RowPatch:
        features = self._features if where.features else None
        return RowPatch(kept, torch.tensor(where.positions, dtype=torch.int64), features)

    def _edits(
        self, layers: Sequence[int], sites: Sequence[Where], terms: Mapping[tuple[int, int], Tensor]
    ) -> list[tuple[int, Term, Tensor, list[Tensor]]]:
        positions = [torch.tensor(where.positions, dtype=torch.int64) for where in sites]
        return [
            (layer, term, terms[layer, index], positions)
            for layer in layers
            for index, term in self._of(layer)
            if (layer, index) in terms
        ]

    def _patched(self, row: int, sites: Sequence[Where]) -> Tensor:
        if self._what == "stream":
            patches = [self._patch(where, self._kept) for where in sites]
            return self._run(row, patches, (), self._may_start(row))
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
                self._starts = self._run(row, nothing, (), True)[0].equal(self.into)
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
        edits: Sequence[tuple[int, Term, Tensor, list[Tensor]]],
        start: bool = False,
    ) -> Tensor:
        passes = self._passes_of(len(patches))
        forward: Forward = passes.forward()
        attached: list[Attached] = [
            RowEdit(forward, self._own.entry(row), patches, self._own if start else None)
        ]
        attached += [
            Written(forward, layer, term.module, term.call, output=output, positions=positions)
            for layer, term, output, positions in edits
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
