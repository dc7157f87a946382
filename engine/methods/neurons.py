"""Neurons: which units of the MLPs wrote the answer, and which words each pushes.

A unit is an input of an MLP's last linear layer; its column of the weight, times its activation,
is what it adds to the residual stream (Geva et al. 2021, arXiv 2012.14913, and 2022, arXiv
2203.14680). Its share of a logit is that of its addition, with the final norm frozen as for
`parts`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, ClassVar

from msgspec import Meta, Struct

from engine.methods.method import Method, Stop, Subject
from engine.methods.parts import Pushed
from engine.records import (
    MOST_LAYERS,
    Layer,
    NonNegative,
    Number,
    Part,
    Reading,
    Request,
    Run,
    Short,
    Token,
)
from engine.tables import Table

MOST_UNITS = 1000


class NeuronsRequest(Request, frozen=True):
    """The units of which layers, of which logit."""

    own_pass: ClassVar[bool] = True

    position: int = -1
    """The position whose units and logits are read; negative ones count back from the last token of
    the prompt."""
    layer: Layer | None = None
    """Layer l takes row l to row l + 1; all layers if None."""
    top: Annotated[int, Meta(ge=1, le=MOST_UNITS)] = 20
    """How many units, those with the largest shares."""
    of: Annotated[tuple[Short, ...], Meta(max_length=2)] = ()
    """A word, or two: the first one's logit minus the second one's. If empty, the best token minus
    the second best."""
    ablate: Annotated[int, Meta(ge=0, le=MOST_UNITS)] = 0
    """How many of the units, the first ones, are also set to zero, each in a pass of its own."""


class Unit(Struct, frozen=True):
    """A unit, what it adds to the logit, and the words it pushes when it is active."""

    layer: Layer
    index: NonNegative
    """Among the inputs of the last linear layer."""
    activation: Number | None
    share: Number | None
    module: Short = "MLP"
    """The module whose unit it is, such as "shared expert"."""
    expert: NonNegative | None = None
    """Of a mixture, which expert's unit it is; its share is weighted by the router."""
    effect: Number | None = None
    """By how much the logit falls if the unit is zero at the position and everything after it runs
    on; None if it was not set to zero."""
    promotes: tuple[Pushed, ...] = ()
    suppresses: tuple[Pushed, ...] = ()
    """Of the unit as it is: with a negative activation its column's words change places."""


class Expert(Struct, frozen=True):
    """An expert of a mixture that the router has chosen at the position."""

    layer: Layer
    index: NonNegative
    weight: Number | None
    """The router's, as it multiplies the expert's output."""
    share: Number | None


class LayerUnits(Struct, frozen=True):
    """All units of a layer together."""

    layer: Layer
    units: NonNegative
    share: Number | None = None
    """Of all of its units: the MLP's share less its bias."""
    positive: Number | None = None
    negative: Number | None = None
    """The sums of the positive and of the negative shares."""
    error: Number | None = None
    """|sum of the units' additions - the MLP's output less its bias|, relative to the latter's
    largest element."""
    reason: Short | None = None
    """Why there are no units."""


class NeuronsPart(Part, frozen=True):
    """The units, with those set to zero so far."""

    of: tuple[Token, ...]
    units: tuple[Unit, ...]
    done: NonNegative
    orders: NonNegative


class NeuronsReading(Reading, frozen=True, kw_only=True, tag="neurons"):
    """The units with the largest shares of a logit, or of the difference of two."""

    request: NeuronsRequest
    position: NonNegative
    """Index into the run's tokens."""
    of: Annotated[tuple[Token, ...], Meta(min_length=1, max_length=2)]
    value: Number | None
    """The whole logit or difference: the output of the head, before any scale and soft-cap."""
    units: Annotated[tuple[Unit, ...], Meta(max_length=MOST_UNITS)]
    """Beginning with the largest |share|."""
    layers: Annotated[tuple[LayerUnits, ...], Meta(max_length=MOST_LAYERS)]
    """Ascending: those that were asked for."""
    experts: Annotated[tuple[Expert, ...], Meta(max_length=2**16)] = ()

    def misfit(self, run: Run) -> str | None:
        """See `Reading.misfit`."""
        if self.position >= len(run.tokens):
            return f"position {self.position} of {len(run.tokens)} tokens"
        named = [
            *(unit.layer for unit in self.units),
            *(layer.layer for layer in self.layers),
            *(expert.layer for expert in self.experts),
        ]
        if max(named, default=0) >= run.layers:
            return f"layers beyond {run.layers}"
        return None


class Neurons(Method[NeuronsRequest, NeuronsReading]):
    """Reads the units in a pass of its own; one more for each that is set to zero."""

    name: ClassVar[str] = "neurons"
    title: ClassVar[str] = "Which neurons wrote the answer"
    request = NeuronsRequest
    reading = NeuronsReading

    def read(
        self, subject: Subject, request: NeuronsRequest, stop: Stop
    ) -> Iterator[NeuronsPart | NeuronsReading]:
        """Read the units, then set the first ones to zero."""
        raise NotImplementedError

    def tables(self, reading: NeuronsReading) -> tuple[Table, ...]:
        """A line a unit; a line a layer; a line an expert."""
        raise NotImplementedError
