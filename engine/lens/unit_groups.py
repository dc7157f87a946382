"""Finds the units of a layer: the inputs of the last linear map in each of its MLPs, and the linear
way from there to the residual stream."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import torch
from torch import Tensor, nn

from engine.anatomy.frozen_norm import FrozenNorm, freeze_module
from engine.anatomy.hooks import first_float_tensor
from engine.anatomy.layer_sums import LayerSum, Term, sparse_sum
from engine.anatomy.unit_columns import UnitColumns, columns_in, columns_of
from engine.lens.experts import ERRORS, ExpertOutput, expert_outputs, holds_experts
from engine.passes.layer_watches import MLP
from engine.passes.unit_watches import SeenCall, UnitWatch
from engine.system.memory import is_out_of_memory

NO_MLP: Final = "no part of this layer acts on every position by itself"
CHANGED: Final = "what follows its last linear layer is no norm that can be frozen"
NOT_SEEN: Final = "its output is no sum of what the linear layers inside it return"
NO_UNITS: Final = "its experts are one part each: what enters their last products was not seen"
_FEW: Final = 12
"""Of up to so many modules, the fewest are sought that sum to a part."""
_SAME: Final = 1e-4
"""How far what a module makes of one position may be from what it makes of it among others."""

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


class _Candidate(NamedTuple):
    """Something that may be a term of the sum that an MLP's output is."""

    seen: SeenCall
    vector: Tensor
    """float64 [width]"""
    experts: Sequence[ExpertOutput] = ()
    norm: FrozenNorm | None = None
    """What it goes through first."""


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
        if term.attends or not (term.name == MLP or _alone(watch.last.get((layer, term.origin)))):
            continue
        any_mlp = True
        part = _Part(layer, term, watch.seen.get(layer, ()), allowed).groups()
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


def _alone(last: SeenCall | None) -> bool:
    """Whether a module makes the same of the last position by itself as among the others."""
    made = None if last is None else _called_again(last)
    if made is None or last is None or made.numel() != last.left.numel():
        return False
    limit = max(_SAME, 4.0 * torch.finfo(last.left.dtype).eps)
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

    def __init__(self, layer: int, term: Term, seen: Sequence[SeenCall], allowed: float) -> None:
        self._layer, self._term, self._seen, self._allowed = layer, term, seen, allowed

    def groups(self) -> LayerGroups | str:
        """Its units and experts; why there are neither."""
        term = self._term
        outer = next(
            (e for e in self._seen if e.module is term.module and e.call == term.call), None
        )
        if outer is None or len(outer.rows) != 1:
            return NOT_SEEN
        own = target = _vector(outer.left)
        after: tuple[Step, ...] = (float(term.factor),)
        if term.source is not None or not _has_weights(term.origin):
            norm = freeze_module(term.module, outer.entered[0])
            target = _vector(outer.entered)
            if norm is None or len(target) != len(own):
                return CHANGED
            if not self._close(norm(target) + norm.bias, own):
                return CHANGED
            after = (norm, *after)
        terms = self._terms(target)
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
            for output in candidate.experts:
                expert = ChosenExpert(self._layer, output, route)
                experts.append(expert)
                whole += [expert] if output.units is None else []
            added = [group.weight * group.columns.bias.cpu().double() for group in made]
            alone = torch.zeros_like(target) + sum(added)
            bias = bias + Route(before).with_bias(alone)
        expected = term.factor * own - Route(after).with_bias(bias)
        reason = NO_UNITS if whole else None
        return LayerGroups(self._layer, (*groups,), (*experts,), (*whole,), expected, reason)

    def _units(self, candidate: _Candidate, route: Route) -> Iterator[UnitGroup]:
        seen, name = candidate.seen, self._name(candidate)
        if not candidate.experts:
            entered = seen.entered[0]
            columns = columns_of(seen.module, entered)
            yield UnitGroup(
                self._layer,
                name,
                None,
                _vector(entered),
                columns,
                1.0,
                route,
                seen,
                seen.rows[0],
            )
        for output in candidate.experts:
            if output.units is not None:
                yield UnitGroup(
                    self._layer,
                    name,
                    output.index,
                    _vector(output.units.activations),
                    columns_in(output.units.columns, output.units.bias),
                    1.0 if output.weight is None else output.weight,
                    route,
                    seen,
                    output.row,
                )

    def _name(self, candidate: _Candidate) -> str:
        """The module that the units are of, inside the part."""
        origin = next((e.name for e in self._seen if e.module is self._term.origin), "")
        name = candidate.seen.name
        if not candidate.experts:
            name = name.rpartition(".")[0]
        if not name or f"{origin}.".startswith(f"{name}."):
            return self._term.name
        return name.removeprefix(f"{origin}.")

    def _terms(self, target: Tensor) -> list[tuple[_Candidate, float]] | None:
        """What sums to an MLP's output, with factors; None if nothing does."""
        some = [*_distinct(self._linear(target))]
        found = self._fitted(target, some)
        if found is None:
            # An adapter's linear map is a module of several.
            wrapped = [
                _Candidate(seen, _vector(seen.left))
                for seen in self._seen
                if len(seen.rows) == 1
                and seen.left.numel() == len(target)
                and next(seen.module.children(), None) is not None
                and _is_linear(seen)
            ]
            found = self._fitted(target, [*_distinct([*wrapped, *some])]) if wrapped else None
        return found

    def _linear(self, target: Tensor) -> list[_Candidate]:
        found: list[_Candidate] = []
        for seen in self._seen:
            if seen.left.shape[-1] != len(target):
                continue
            if holds_experts(seen.module):
                experts = expert_outputs(seen, self._allowed)
                if experts is not None:
                    found.append(_Candidate(seen, _vector(seen.left.sum(0)), experts))
            elif len(seen.rows) == 1 and _is_matrix(seen.module):
                found.append(_Candidate(seen, _vector(seen.left)))
        for seen in self._seen:
            if _has_weights(seen.module) or seen.module is self._term.module:
                continue
            for each in [*found]:
                left = each.seen.left
                if (
                    each.norm is None
                    and left.shape == seen.entered.shape
                    and left.equal(seen.entered)
                ):
                    norm = freeze_module(seen.module, seen.entered[0])
                    if norm is not None and norm.kind != "none":
                        found.append(each._replace(vector=_vector(seen.left), norm=norm))
        return found

    def _fitted(
        self, target: Tensor, candidates: Sequence[_Candidate]
    ) -> list[tuple[_Candidate, float]] | None:
        if not candidates:
            return None
        vectors = torch.stack([each.vector for each in candidates])
        allowed = self._allowed * float(target.norm())
        if len(candidates) <= _FEW:
            fit = sparse_sum(target, vectors, allowed)
            if fit is not None:
                return [
                    (candidates[place], float(factor))
                    for place, factor in zip(fit.terms, fit.factors, strict=True)
                ]
        if len(candidates) >= len(target):
            return None
        # Many experts that are a module each.
        factors = torch.linalg.lstsq(vectors.T, target[:, None], driver="gelsd").solution[:, 0]
        if float((factors @ vectors - target).norm()) > allowed:
            return None
        sizes = factors.abs() * vectors.norm(dim=1)
        return [
            (each, float(factor))
            for each, factor, size in zip(candidates, factors, sizes, strict=True)
            if float(size) > allowed
        ]

    def _close(self, made: Tensor, own: Tensor) -> bool:
        limit = max(_SAME, self._allowed) * float(own.norm())
        return float((made - own).norm()) <= limit


def _distinct(candidates: Sequence[_Candidate]) -> Iterator[_Candidate]:
    """The candidates without those that give what an earlier one gives, and zeros."""
    kept: list[_Candidate] = []
    for each in candidates:
        if bool(each.vector.any()) and not any(each.vector.equal(other.vector) for other in kept):
            kept.append(each)
            yield each


def _is_linear(seen: SeenCall) -> bool:
    """Whether a module is a linear map and a bias, by what it does."""
    entered = seen.entered
    other = torch.randn(entered.shape, generator=torch.Generator().manual_seed(0)).to(entered)
    other = other * entered.float().square().mean().sqrt().to(entered)
    vectors = torch.cat([torch.zeros_like(entered), entered, other, entered + other])
    try:
        made = first_float_tensor(seen.module(vectors))
    except ERRORS as error:
        if is_out_of_memory(error):
            raise
        return False
    if made is None or made.shape[:-1] != vectors.shape[:-1]:
        return False
    nothing, one, two, both = made.double()
    limit = max(_SAME, 4.0 * torch.finfo(entered.dtype).eps)
    return float((one + two - nothing - both).norm()) <= limit * float(both.norm())


def _is_matrix(module: nn.Module) -> bool:
    leaf = next(module.children(), None) is None
    return leaf and any(parameter.ndim == 2 for parameter in module.parameters())


def _has_weights(module: nn.Module) -> bool:
    return any(parameter.ndim >= 2 for parameter in module.parameters())


def _vector(value: Tensor) -> Tensor:
    return value.cpu().double().flatten()
