"""Finds the units of a layer: the inputs of the last linear map in each of its MLPs, and the linear
way from there to the residual stream."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import torch
from torch import Tensor, nn

from engine.anatomy.frozen_norm import FrozenNorm, freeze_module
from engine.anatomy.hooks import first_float_tensor
from engine.anatomy.layer_sums import LayerSum, Term
from engine.anatomy.unit_columns import UnitColumns, columns_in, columns_of
from engine.lens.experts import ERRORS, ExpertOutput
from engine.lens.unit_terms import SAME, LinearTerm, as_vector, linear_terms
from engine.passes.layer_watches import MLP
from engine.passes.unit_watches import SeenCall, UnitWatch, has_weights
from engine.system.memory import is_out_of_memory

NO_MLP: Final = "no part of this layer acts on every position by itself"
CHANGED: Final = "what follows its last linear layer is no norm that can be frozen"
NOT_SEEN: Final = "its output is no sum of what the linear layers inside it return"
NO_UNITS: Final = "its experts are one part each: what enters their last products was not seen"

Step = float | FrozenNorm


class Route(tuple[Step, ...]):
    """A linear map in steps: factors, and frozen norms less what they add."""

    def __call__(self, vectors: Tensor) -> Tensor:
        """The map of vectors, float64 [n, width], on the CPU."""
        for step in self:
            vectors = vectors * step if isinstance(step, float) else step(vectors)
        return vectors

    def transposed(self, direction: Tensor) -> Tensor:
        """The direction [width] whose product with any vector is that of `direction` with the
        vector's map."""
        for step in reversed(self):
            direction = direction * step if isinstance(step, float) else step.transposed(direction)
        return direction

    def with_bias(self, vector: Tensor) -> Tensor:
        """What becomes of a vector [width], with what the norms add."""
        for step in self:
            vector = vector * step if isinstance(step, float) else step(vector) + step.bias
        return vector


@dataclass(frozen=True, eq=False)
class UnitGroup:
    """All units of one linear map."""

    layer: int
    module: str
    """"MLP", or the name of the module inside the layer's part."""
    expert: int | None
    activations: Tensor
    """float64 [units], on the CPU."""
    columns: UnitColumns
    weight: float
    """The router's, where it multiplies what the units add; else 1."""
    route: Route
    """From the map's output, or that of all experts, to the stream that leaves the layer."""
    seen: SeenCall
    """Of the map, or of the module of all experts."""
    row: int
    """Which of the vectors of `seen` are of the position."""
    enters_module: bool
    """Whether the units are what enters the module of `seen`."""


@dataclass(frozen=True)
class ChosenExpert:
    """An expert that has given something at the position."""

    layer: int
    output: ExpertOutput
    route: Route


@dataclass(frozen=True)
class LayerGroups:
    """What is known of the MLPs of a layer."""

    layer: int
    groups: tuple[UnitGroup, ...] = ()
    experts: tuple[ChosenExpert, ...] = ()
    whole: tuple[ChosenExpert, ...] = ()
    """Those of the experts that have no group."""
    expected: Tensor = field(default_factory=lambda: torch.zeros(()))
    """float64 [width]: what the groups and the experts without one add to the stream, which is the
    MLPs' output less their bias."""
    reason: str | None = None
    """Why there are no units, or not all."""


def layer_groups(
    layer: int, of: LayerSum, watch: UnitWatch, width: int, allowed: float
) -> LayerGroups:
    """The units of a layer that is a sum; `allowed` is what rounding may leave of a sum, as a share
    of it.

    To be called in eval mode and without gradients, by whoever holds the model's lock.
    """
    found = LayerGroups(layer, expected=torch.zeros(width, dtype=torch.float64), reason=NO_MLP)
    reasons: list[str] = []
    any_mlp = False
    for term in of.terms:
        if not is_mlp(layer, term, watch):
            continue
        any_mlp = True
        inside = watch.forward.parts.layers[layer]
        part = _Part(layer, term, watch.seen.get(layer, ()), inside, allowed).groups()
        if isinstance(part, str):
            reasons.append(part)
            continue
        reasons += [part.reason] if part.reason is not None else []
        found = LayerGroups(
            layer,
            (*found.groups, *part.groups),
            (*found.experts, *part.experts),
            (*found.whole, *part.whole),
            found.expected + part.expected,
        )
    if not any_mlp:
        return found
    reason = "; ".join(dict.fromkeys(reasons)) or None
    return LayerGroups(layer, found.groups, found.experts, found.whole, found.expected, reason)


def is_mlp(layer: int, term: Term, watch: UnitWatch) -> bool:
    """Whether a term of a layer acts on every position by itself. To be called as `layer_groups`
    is."""
    if term.attends:
        return False
    return term.name == MLP or _alone(watch.last.get((layer, term.origin)))


def _alone(last: SeenCall | None) -> bool:
    """Whether a module makes the same of the last position by itself as among the others."""
    made = None if last is None else _called_again(last)
    if made is None or last is None or made.numel() != last.left.numel():
        return False
    limit = max(SAME, 4.0 * torch.finfo(last.left.dtype).eps)
    own, again = last.left.double().flatten(), made.double().flatten()
    return float((own - again).norm()) <= limit * float(own.norm())


def _called_again(seen: SeenCall) -> Tensor | None:
    try:
        return first_float_tensor(seen.again())
    except ERRORS as error:
        if is_out_of_memory(error):
            raise
        return None


class _Part:
    """One MLP of a layer."""

    def __init__(
        self, layer: int, term: Term, seen: Sequence[SeenCall], inside: nn.Module, allowed: float
    ) -> None:
        """`inside` is the layer itself."""
        self._layer, self._term, self._seen = layer, term, seen
        self._inside, self._allowed = inside, allowed

    def groups(self) -> LayerGroups | str:
        """Its units and experts; why there are neither."""
        term = self._term
        outer = next(
            (e for e in self._seen if e.module is term.module and e.call == term.call), None
        )
        if outer is None or len(outer.rows) != 1:
            return NOT_SEEN
        own = target = as_vector(outer.left)
        after: tuple[Step, ...] = (float(term.factor),)
        if term.source is not None or not has_weights(term.origin):
            norm = freeze_module(term.module, outer.entered[0])
            target = as_vector(outer.entered)
            if norm is None or len(target) != len(own):
                return CHANGED
            if not self._close(norm(target) + norm.bias, own):
                return CHANGED
            after = (norm, *after)
        terms = linear_terms(self._seen, target, self._allowed, term.module)
        if terms is None:
            return NOT_SEEN
        groups: list[UnitGroup] = []
        experts: list[ChosenExpert] = []
        whole: list[ChosenExpert] = []
        bias = torch.zeros_like(target)
        for candidate, factor in terms:
            before = (factor,) if candidate.norm is None else (candidate.norm, factor)
            route = Route((*before, *after))
            made = [*self._units(candidate, route)]
            groups += made
            for output in candidate.experts or self._listed(candidate, factor):
                expert = ChosenExpert(self._layer, output, route)
                experts.append(expert)
                whole += [expert] if candidate.experts and output.units is None else []
            added = [group.weight * group.columns.bias.cpu().double() for group in made]
            alone = torch.zeros_like(target) + sum(added)
            bias = bias + Route(before).with_bias(alone)
        expected = term.factor * own - Route(after).with_bias(bias)
        reason = NO_UNITS if whole else None
        return LayerGroups(self._layer, (*groups,), (*experts,), (*whole,), expected, reason)

    def _units(self, candidate: LinearTerm, route: Route) -> Iterator[UnitGroup]:
        seen, name = candidate.seen, self._name(candidate)
        if not candidate.experts:
            entered = seen.entered[0]
            columns = columns_of(seen.module, entered)
            listed = self._place_in_list(seen)
            yield UnitGroup(
                self._layer,
                name,
                None if listed is None else listed[1],
                as_vector(entered),
                columns,
                1.0,
                route,
                seen,
                seen.rows[0],
                enters_module=True,
            )
        for output in candidate.experts:
            if output.units is not None:
                yield UnitGroup(
                    self._layer,
                    name,
                    output.index,
                    as_vector(output.units.activations),
                    columns_in(output.units.columns, output.units.bias),
                    1.0 if output.weight is None else output.weight,
                    route,
                    seen,
                    output.row,
                    enters_module=False,
                )

    def _place_in_list(self, seen: SeenCall) -> tuple[str, int] | None:
        """The list of modules of one kind that a module is in, and its place there: such are the
        experts of a mixture that has a module for each."""
        words = seen.name.split(".")
        for end, word in enumerate(words[:-1]):
            around = self._inside.get_submodule(".".join(words[:end]))
            if not word.isdigit() or not isinstance(around, nn.ModuleList):
                continue
            if len(around) > 1 and len({*map(type, around)}) == 1:
                return ".".join(words[:end]), int(word)
        return None

    def _listed(self, candidate: LinearTerm, factor: float) -> list[ExpertOutput]:
        """The expert that a linear map is of, if it is a module in a list."""
        seen = candidate.seen
        listed = self._place_in_list(seen)
        if listed is None:
            return []
        # The factor is that of the route, too.
        return [ExpertOutput(listed[1], factor, seen.rows[0], as_vector(seen.left), None)]

    def _name(self, candidate: LinearTerm) -> str:
        """The module that the units are of, inside the part."""
        origin = next((e.name for e in self._seen if e.module is self._term.origin), "")
        name = candidate.seen.name
        if not candidate.experts:
            listed = self._place_in_list(candidate.seen)
            name = name.rpartition(".")[0] if listed is None else listed[0]
        if not name or f"{origin}.".startswith(f"{name}."):
            return self._term.name
        return name.removeprefix(f"{origin}.")

    def _close(self, made: Tensor, own: Tensor) -> bool:
        limit = max(SAME, self._allowed) * float(own.norm())
        return float((made - own).norm()) <= limit
