"""The units of a model's MLPs, and the share that each has of a logit.

`engine.lens.unit_groups` finds them; what a share is, says `engine.lens.logit_parts`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

from engine.anatomy.hooks import evaluating
from engine.anatomy.unit_columns import precise
from engine.errors import BadInput, Cancelled, CannotRead
from engine.lens.ablation import Ablations
from engine.lens.lens import Lens, model_lock
from engine.lens.logit_parts import LinearHead, LogitParts
from engine.lens.reading_parts import HALVES, WHOLE_LAYER, Sums, read_parts
from engine.lens.repeated import RepeatedPasses, Stop
from engine.lens.unit_groups import ChosenExpert, LayerGroups, UnitGroup, layer_groups
from engine.passes.edits import Attached
from engine.passes.forward import Forward
from engine.passes.part_edits import Scaled
from engine.passes.unit_watches import UnitWatch

DID_NOT_RUN: Final = "this layer did not run"
ROUNDS: Final = "its last linear layer rounds what it is given, so it is no sum over its inputs"
_EXACT: Final = 1e-5
"""What the units of a layer may miss of their sum, relative to its largest element."""
_ROUNDING: Final = 16.0
"""How many units of rounding a sum may be off."""


@dataclass(frozen=True)
class UnitPlace:
    """One unit."""

    group: UnitGroup
    index: int

    @property
    def activation(self) -> float:
        """What enters the linear map there."""
        return float(self.group.activations[self.index])


@dataclass(frozen=True)
class GroupShares:
    """What each unit of a group adds to a logit, or to the difference of two."""

    group: UnitGroup
    shares: Tensor
    """float64 [units]"""


@dataclass(frozen=True)
class LayerShares:
    """The units of a layer, measured along one direction."""

    layer: int
    groups: tuple[GroupShares, ...]
    experts: tuple[tuple[ChosenExpert, float], ...]
    """Each with its share, weighted by the router."""
    error: float | None
    """|sum of what the units add to the stream - the MLP's output less its bias|, relative to the
    latter's largest element; experts without units count as one. None if there are neither."""
    reason: str | None


@dataclass(frozen=True)
class FoundUnits:
    """The units of some layers at one position."""

    parts: LogitParts
    head: LinearHead
    layers: tuple[LayerGroups, ...]
    tolerance: float
    """What `LayerShares.error` may be."""
    lens: Lens

    def shares(self, ids: Sequence[int], stop: Stop = lambda: False) -> Iterator[LayerShares]:
        """What each unit adds to the logit of a token, or to that of the first minus the second's,
        layer by layer. Raises Cancelled soon after `stop()` is true."""
        rows = self.head.directions(ids)
        assert self.parts.frozen is not None
        towards = self.parts.frozen.transposed(rows[0] - rows[1] if len(rows) > 1 else rows[0])
        for each in self.layers:
            yield self._of_layer(each, towards * self.parts.passed_on[each.layer], stop)

    def vectors(self, units: Sequence[UnitPlace]) -> Tensor:
        """What each unit adds to the input of the model's head: float32 [units, width]."""
        assert self.parts.frozen is not None
        found = []
        for unit in units:
            group = unit.group
            left = self.parts.passed_on[group.layer]
            added = group.route(self.added(unit).cpu().double()[None])
            found.append(self.parts.frozen(left * added)[0])
        return torch.stack(found).float() if found else torch.zeros(0, self.head.width)

    def added(self, unit: UnitPlace) -> Tensor:
        """What a unit adds to the output of its linear map, or of the module of all experts:
        [width], on the device of the weights."""
        group, index = unit.group, unit.index
        with model_lock(self.lens.model), evaluating(self.lens.model):
            column = precise(group.columns.take(slice(index, index + 1))[0])
        return group.weight * unit.activation * column

    def _of_layer(self, of: LayerGroups, towards: Tensor, stop: Stop) -> LayerShares:
        """`towards` is the direction in the stream that leaves the layer."""
        together = torch.zeros_like(towards)
        groups: list[GroupShares] = []
        reason = of.reason
        for group in of.groups:
            shares, added = self._of_group(group, towards, stop)
            together += group.route(added[None])[0]
            groups.append(GroupShares(group, shares))
        for expert in of.whole:
            together += expert.route(expert.output.vector[None])[0]
        experts = tuple(
            (expert, float(expert.output.vector @ expert.route.transposed(towards)))
            for expert in of.experts
        )
        if not groups and not experts:
            return LayerShares(of.layer, (), (), None, reason)
        size = float(of.expected.abs().max()) or 1.0
        off = (together - of.expected).abs().nan_to_num(math.inf, math.inf)
        error = float(off.max()) / size
        if error > self.tolerance and not all(each.group.columns.exact for each in groups):
            return LayerShares(of.layer, (), (), None, ROUNDS)
        return LayerShares(of.layer, (*groups,), experts, error, reason)

    def _of_group(self, group: UnitGroup, towards: Tensor, stop: Stop) -> tuple[Tensor, Tensor]:
        """The share of each unit, float64 [units], and what all of them add to the output of their
        linear map, float64 [width]."""
        towards = group.weight * group.route.transposed(towards)
        shares, added = torch.zeros_like(group.activations), torch.zeros_like(towards)
        with model_lock(self.lens.model), evaluating(self.lens.model):
            for some, taken in group.columns.blocks():
                if stop():
                    raise Cancelled("cancelled")
                columns = precise(taken)  # [some, width]
                activations = group.activations[some]
                along = columns @ towards.to(columns)
                shares[some] = activations * along.cpu().double()
                added += (activations.to(columns) @ columns).cpu().double()
        return shares, group.weight * added


def largest(layers: Sequence[LayerShares], count: int) -> list[tuple[UnitPlace, float]]:
    """The units with the largest shares, whatever their sign, the largest first."""
    best: list[tuple[UnitPlace, float]] = []
    for layer in layers:
        for group, shares in ((each.group, each.shares) for each in layer.groups):
            places = shares.abs().nan_to_num(0.0).topk(min(count, len(shares))).indices.tolist()
            best += [(UnitPlace(group, place), float(shares[place])) for place in places]
    best.sort(key=lambda each: -abs(each[1]))
    return best[:count]


def read_units(
    lens: Lens,
    inputs: Mapping[str, Any],
    position: int = -1,
    layer: int | None = None,
    stop: Stop = lambda: False,
    passes: RepeatedPasses | None = None,
) -> FoundUnits:
    """Find the units of one layer, or of all, at one position of a batch of one, in one pass.

    Raises BadInput for a layer that there is not, CannotRead if the logits are no sum of parts, and
    what `read_parts` raises.
    """
    watches: list[UnitWatch] = []

    def watching(forward: Forward, sums: Sums) -> Sequence[Attached]:
        if layer is not None and not 0 <= layer < len(sums):
            raise BadInput(f"there is no layer {layer}: they go from 0 to {len(sums) - 1}")
        watched = range(len(sums)) if layer is None else (layer,)
        watches[:] = [UnitWatch(forward, sums, watched)]
        return watches

    found = read_parts(lens, inputs, position, stop=stop, passes=passes, watching=watching)
    if found.head is None:
        raise CannotRead(f"its logits are no sum of parts: {found.parts[0].reason}")
    (watch,) = watches
    dtype = watch.forward.parts.dtype
    whole = {part.layer: part.reason for part in found.parts if part.name == WHOLE_LAYER}
    ran = {part.layer for part in found.parts if part.term is not None}
    layers: list[LayerGroups] = []
    for index in watch.layers:
        of = watch.sums[index]
        if stop():
            raise Cancelled("cancelled")
        if of is None or index not in ran:
            layers.append(LayerGroups(index, reason=whole.get(index, DID_NOT_RUN)))
            continue
        with model_lock(lens.model), evaluating(lens.model):
            allowed = _ROUNDING * torch.finfo(dtype).eps
            layers.append(layer_groups(index, of, watch, found.head.width, allowed))
    tolerance = 2.0 * HALVES[dtype] if dtype in HALVES else _EXACT
    return FoundUnits(found, found.head, (*layers,), tolerance, lens)


class UnitAblations(Ablations[UnitPlace]):
    """Sets units to zero at the position: of a dense layer, what enters its linear map there; of an
    expert, what it adds to the output of the module of all experts."""

    def __init__(
        self, passes: RepeatedPasses, found: FoundUnits, units: Sequence[UnitPlace]
    ) -> None:
        """See `Ablations`; `found` was read by `passes`."""
        self._found = found
        super().__init__(passes, found.parts.logits, units)

    def editor(self, forward: Forward, unit: UnitPlace, factor: float) -> Attached:
        """See `Ablations.editor`."""
        group, seen = unit.group, unit.group.seen
        head, vector = None, None
        if group.enters_module:
            head = unit.index, len(group.activations)
        else:
            vector = self._found.added(unit).to(seen.left)
        return Scaled(forward, group.layer, seen.module, seen.call, head, factor, group.row, vector)
