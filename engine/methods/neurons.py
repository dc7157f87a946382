"""Neurons: which units of the MLPs wrote the answer, and which words each pushes.

A unit is an input of an MLP's last linear layer; its column of the weight, times its activation,
is what it adds to the residual stream (Geva et al. 2021, arXiv 2012.14913, and 2022, arXiv
2203.14680). Its share of a logit is that of its addition, with the final norm frozen as for
`parts`.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Final

from msgspec import Meta, Struct

from engine.errors import CannotRead
from engine.methods.everywhere import last_position, resolved
from engine.methods.logit_asked import (
    UNCHANGED,
    WORDS,
    Pushed,
    asked_ids,
    asked_tokens,
    described,
    difference_of,
    pushed,
)
from engine.methods.method import Method, Stop, Subject
from engine.records import (
    MOST_LAYERS,
    Layer,
    NonNegative,
    Number,
    Part,
    Reading,
    ReadingProof,
    Request,
    Run,
    Short,
    Token,
    finite,
)
from engine.tables import Column, Table

if TYPE_CHECKING:
    from torch import Tensor

    from engine.lens.neurons import FoundUnits, LayerShares, UnitAblations, UnitPlace
    from engine.lens.repeated import RepeatedPasses
    from engine.prompts.token_texts import TextOf

PROVED: Final = (
    "what the units of a layer add up to against what its MLP adds to the stream, less its bias; "
    "the largest difference, relative to the largest element; the worst of all layers"
)
MOST_UNITS: Final = 1000
_PRINTED: Final = 20
"""How many experts a printed table shows."""


class NeuronsRequest(Request, frozen=True):
    """The units of which layers, of which logit."""

    own_pass: ClassVar[bool] = True

    position: int = -1
    """The position whose units and logits are read; negative ones count back from the last token of
    the prompt, and those from its length on are the tokens of the answer."""
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
    """Of all of its units: where there is no `reason`, the MLP's share less its bias."""
    positive: Number | None = None
    negative: Number | None = None
    """The sums of the positive and of the negative shares."""
    error: Number | None = None
    """|sum of the units' additions - the MLP's output less its bias|, relative to the latter's
    largest element."""
    reason: Short | None = None
    """Why there are no units, or not those of all its parts."""


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
    """Index into the run's tokens and those of its answer."""
    of: Annotated[tuple[Token, ...], Meta(min_length=1, max_length=2)]
    value: Number | None
    """The whole logit or difference: the output of the head, before any scale and soft-cap."""
    units: Annotated[tuple[Unit, ...], Meta(max_length=MOST_UNITS)]
    """Beginning with the largest |share|."""
    layers: Annotated[tuple[LayerUnits, ...], Meta(max_length=MOST_LAYERS)]
    """Ascending: those that were asked for."""
    experts: Annotated[tuple[Expert, ...], Meta(max_length=2**16)] = ()

    @property
    def reaches(self) -> int:
        """See `Reading.reaches`."""
        return self.position

    def misfit(self, run: Run) -> str | None:
        """See `Reading.misfit`."""
        if self.position > last_position(run):
            return f"position {self.position} of {last_position(run) + 1} tokens"
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
        """Read the units, then set the first ones to zero.

        Raises BadInput for a position, layer or word that there is not, CannotRead if there are no
        units in any of the layers.
        """
        from engine.lens.neurons import read_units
        from engine.lens.repeated import RepeatedPasses
        from engine.prompts.token_texts import texts_for

        (position,) = resolved(subject.run, [request.position])
        subject = subject.reaching([position])
        lens = subject.loaded.lens
        passes = RepeatedPasses(lens, subject.inputs, [position], stop)
        found = read_units(lens, subject.inputs, position, request.layer, stop, passes)
        ids = asked_ids(subject, request.of, found.parts.logits)
        layers = [*found.shares(ids, stop)]
        errors = [each.error for each in layers if each.error is not None]
        if not errors:
            raise CannotRead(f"it has no units that can be told apart: {layers[0].reason}")
        shown = _Shown(found, layers, ids, request.top, texts_for(lens.model))
        gap, what = 0.0, PROVED
        if request.ablate:
            gap, what = (yield from self._zeroed(shown, passes, request.ablate)), PROVED + UNCHANGED
        error, parts = max(errors), found.parts
        holds = error <= found.tolerance and parts.error <= parts.tolerance and gap == 0.0
        yield NeuronsReading(
            request=request,
            proof=ReadingProof(what, finite(max(error, gap)), found.tolerance, holds),
            position=position,
            of=shown.of,
            value=finite(shown.value(parts.own)),
            units=shown.units(),
            layers=tuple(map(_layer, layers)),
            experts=tuple(expert for each in layers for expert in _experts(each)),
        )

    def _zeroed(
        self, shown: _Shown, passes: RepeatedPasses, most: int
    ) -> Generator[NeuronsPart, None, float]:
        """Returns how far the editors alone have moved the logits."""
        from engine.lens.neurons import UnitAblations

        chosen = shown.chosen[:most]
        ablations = UnitAblations(passes, shown.found, chosen)
        for done, unit in enumerate(chosen):
            yield NeuronsPart(shown.of, shown.units(), done, len(chosen))
            shown.zero(unit, ablations)
        yield NeuronsPart(shown.of, shown.units(), len(chosen), len(chosen))
        return ablations.gap

    def tables(self, reading: NeuronsReading) -> tuple[Table, ...]:
        """A line a unit; a line a layer; a line an expert."""
        tables = [_units(reading), _layers(reading)]
        return (*tables, _chosen(reading)) if reading.experts else (*tables,)


class _Shown:
    """The units with the largest shares, as records."""

    def __init__(
        self,
        found: FoundUnits,
        layers: Sequence[LayerShares],
        ids: Sequence[int],
        top: int,
        text_of: TextOf,
    ) -> None:
        from engine.lens.neurons import largest

        self.found, self._ids = found, [*ids]
        self.of = asked_tokens(found.parts.logits, ids, text_of)
        best = largest(layers, top)
        self.chosen: list[UnitPlace] = [unit for unit, _ in best]
        self._shares = dict(best)
        self._effects: dict[UnitPlace, float] = {}
        vectors = found.vectors(self.chosen)
        self._words = [
            (pushed(promoted, text_of), pushed(suppressed, text_of)) if moves else ((), ())
            for (promoted, suppressed), moves in zip(
                found.head.words(vectors, WORDS), vectors.any(1).tolist(), strict=True
            )
        ]

    def value(self, own: Tensor) -> float:
        """The logit or the difference, by the head's own output [vocabulary]."""
        return float(difference_of(own.double()[self._ids]))

    def zero(self, unit: UnitPlace, ablations: UnitAblations) -> None:
        """Run a pass with a unit at zero, and note by how much the value has fallen."""
        left = self.value(ablations.without(unit))
        self._effects[unit] = self.value(self.found.parts.own) - left

    def units(self) -> tuple[Unit, ...]:
        """What is known so far."""
        made = []
        for unit, (promotes, suppresses) in zip(self.chosen, self._words, strict=True):
            effect = self._effects.get(unit)
            made.append(
                Unit(
                    layer=unit.group.layer,
                    index=unit.index,
                    activation=finite(unit.activation),
                    share=finite(self._shares[unit]),
                    module=unit.group.module,
                    expert=unit.group.expert,
                    effect=None if effect is None else finite(effect),
                    promotes=promotes,
                    suppresses=suppresses,
                )
            )
        return tuple(made)


def _layer(layer: LayerShares) -> LayerUnits:
    if layer.error is None:
        return LayerUnits(layer.layer, 0, reason=layer.reason)
    shares = [each.shares for each in layer.groups]
    return LayerUnits(
        layer=layer.layer,
        units=sum(map(len, shares)),
        share=finite(sum(float(each.sum()) for each in shares)),
        positive=finite(sum(float(each.clamp_min(0).sum()) for each in shares)),
        negative=finite(sum(float(each.clamp_max(0).sum()) for each in shares)),
        error=finite(layer.error),
        reason=layer.reason,
    )


def _experts(layer: LayerShares) -> Iterator[Expert]:
    for expert, share in layer.experts:
        weight = expert.output.weight
        yield Expert(
            layer=layer.layer,
            index=expert.output.index,
            weight=None if weight is None else finite(weight),
            share=finite(share),
        )


def _units(reading: NeuronsReading) -> Table:
    zeroed = bool(reading.request.ablate)
    mixed = bool(reading.experts)
    columns = (
        Column("layer", "count"),
        Column("module"),
        *((Column("expert", "count"),) if mixed else ()),
        Column("unit", "count"),
        Column("activation", "number"),
        Column("share", "number"),
        *((Column("effect", "number", "set to zero"),) if zeroed else ()),
        Column("promotes"),
        Column("suppresses"),
    )
    lines = tuple(
        (
            unit.layer,
            unit.module,
            *((unit.expert,) if mixed else ()),
            unit.index,
            unit.activation,
            unit.share,
            *((unit.effect,) if zeroed else ()),
            " ".join(repr(word.text) for word in unit.promotes),
            " ".join(repr(word.text) for word in unit.suppresses),
        )
        for unit in reading.units
    )
    total = "not a number" if reading.value is None else f"{reading.value:.4g}"
    every = sum(layer.units for layer in reading.layers)
    note = (
        f"The {len(lines)} largest of {every} units; the whole is {total}. Shares say which units "
        "wrote the logit, with the final norm as it is at the end; not which were needed."
    )
    title = f"units of {described(reading.of)}, at position {reading.position}"
    return Table(title, columns, lines, (note,))


def _layers(reading: NeuronsReading) -> Table:
    columns = (
        Column("layer", "count"),
        Column("units", "count"),
        Column("share", "number"),
        Column("positive", "number"),
        Column("negative", "number"),
        Column("note"),
    )
    lines = tuple(
        (each.layer, each.units, each.share, each.positive, each.negative, each.reason or "")
        for each in reading.layers
    )
    return Table("all units of each layer", columns, lines)


def _chosen(reading: NeuronsReading) -> Table:
    shown = sorted(reading.experts, key=lambda each: -abs(each.share or 0.0))[:_PRINTED]
    columns = (
        Column("layer", "count"),
        Column("expert", "count"),
        Column("weight", "number"),
        Column("share", "number"),
    )
    lines = tuple((each.layer, each.index, each.weight, each.share) for each in shown)
    return Table(f"the {len(shown)} largest of {len(reading.experts)} experts", columns, lines)
