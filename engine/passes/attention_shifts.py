"""Adds something to what attention gives one position, which derivatives can be taken of."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from engine.anatomy.attention_calls import AttentionCall
from engine.passes.edits import Active, AttentionEdit
from engine.passes.forward import Forward


@dataclass
class AttentionShift:
    """One attention call of a decoder layer."""

    layer: int
    added: Tensor
    """What is added to the heads' outputs at the position, [heads, value width]."""
    value: Tensor
    """[key/value heads, keys, value width]"""


@dataclass
class AttentionShifts:
    """An editor (see `engine.passes.edits`) of a `Forward` over a batch of one: attention of the
    first position that it reads. A call's weights a sum over values v to the output, so that the
    derivative by a_j is that by the output, times v_j."""

    forward: Forward
    shifts: Mapping[int, Tensor] = field(default_factory=dict)
    """What is added in a call, by its number in `calls`; nothing where none is named."""
    gradients: bool = False
    """Whether what is added is to be differentiated with respect to."""
    calls: list[AttentionShift] = field(default_factory=list)
    """The calls in which the sequence's own tokens are the queries, in their order."""

    def __post_init__(self) -> None:
        self._layer_of: dict[nn.Module, int] = {
            module: index
            for index, layer in enumerate(self.forward.parts.layers)
            for module in layer.modules()
        }

    def attached(self, active: Active) -> AbstractContextManager[None]:
        """See `engine.passes.edits.Attached`."""
        return AttentionEdit(after=self._after).attached(active)

    def _after(self, call: AttentionCall, output: Tensor) -> Tensor:
        layer = self._layer_of.get(call.module)
        places = self.forward.absolute_positions
        if layer is None or places is None or call.query.shape[2] != self.forward.length:
            return output
        place = int(places[0, 0])
        # The queries' axis is the second; heads and value width may be one axis or two.
        rows = output.reshape(*output.shape[:2], call.query.shape[1], -1)
        added = self.shifts.get(len(self.calls))
        if added is None:
            added = torch.zeros_like(rows[0, place])
        added = added.detach().to(rows).requires_grad_(self.gradients)
        self.calls.append(AttentionShift(layer, added, call.value[0].detach()))
        whole = torch.zeros_like(rows)
        whole = whole.index_put((torch.tensor(0), torch.tensor(place)), added)
        return (rows + whole).reshape(output.shape)
