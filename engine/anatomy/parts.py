"""What one watched pass has shown of a model: where its rows are, and how they are read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from engine.anatomy.hooks import Slot
from engine.anatomy.logit_map import difference, tolerance
from engine.anatomy.tail import RowStream, Tail, TailMethod
from engine.records import Proof, finite


@dataclass(frozen=True)
class ModelParts:
    """The parts of a model, as found for one kind of inputs; a model of L layers has rows 0..L."""

    layers: tuple[nn.Module, ...]
    layers_name: str
    """Name of the ModuleList that holds the layers, as in `named_modules`."""
    stream_slot: Slot
    """Which argument of a layer is the residual stream."""
    tail: Tail
    dtype: torch.dtype
    """Dtype of the residual stream."""
    proof: Proof
    """The last row against the model's logits, at every attended position of the watched pass."""
    notes: tuple[str | None, ...]
    """For each row, why it is not exactly the truncated model's, or None if it is."""
    stream_shape: tuple[int, ...]
    """Shape of the residual stream in the watched pass."""
    before: tuple[nn.Module, ...]
    """Modules of the outermost calls that return before the first layer is entered."""
    outside: tuple[nn.Module, ...]
    """Members of lists of modules outside the layers, such as the layers of a vision tower."""
    overwrites: bool = False
    """Whether the model changes a residual stream in place after a layer has received it."""

    def note(self, row: int, read: RowStream) -> str | None:
        """Why this row is not exactly the truncated model's, or None if it is."""
        unchanged = self.unchanged(row, read)
        return None if unchanged is not None and bool(unchanged.all()) else self.notes[row]

    def unchanged(self, row: int, read: RowStream) -> Tensor | None:
        """Whether the model has added nothing to this row, so that its note does not hold: bool
        [n], perhaps still being computed on the device. None if no note depends on that."""
        before = read.before_addition
        if not self.notes[row] or before is None:
            return None
        return (before.to(read.stream.device) == read.stream).flatten(1).all(-1)

    def prove(self, computed: Tensor, model_logits: Tensor) -> Proof:
        """Compare the lens's last row with the model's own logits, both [n, vocabulary]."""
        error = difference(computed.to(model_logits.device), model_logits)
        return as_proof(error, tolerance(self.dtype, model_logits), self.tail.method)


def members_outside(model: nn.Module, layers: Sequence[nn.Module]) -> tuple[nn.Module, ...]:
    """The members of lists of modules outside the layers that have parts of their own; for each
    kind of list, `ModuleList` or `Sequential`, nested ones, too."""
    decoder = {module for layer in layers for module in layer.modules()}
    found: dict[nn.Module, None] = {}
    for group in model.modules():
        if not isinstance(group, (nn.ModuleList, nn.Sequential)) or group in decoder:
            continue
        for member in group:
            holds_layers = any(module in decoder for module in member.modules())
            if not holds_layers and any(True for _ in member.children()):
                found[member] = None
    return (*found,)


def as_proof(error: float, limit: float, method: TailMethod) -> Proof:
    """The proof record for a largest absolute logit difference of `error`."""
    return Proof(
        max_abs_difference=finite(error), tolerance=limit, passed=error <= limit, method=method
    )
