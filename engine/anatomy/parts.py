"""What is learned of a model on one watched pass: where its rows are, and how they are read."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from engine.anatomy.hooks import Slot
from engine.anatomy.logit_map import difference, tolerance
from engine.anatomy.tail import Tail, TailMethod
from engine.records import Proof, finite


@dataclass(frozen=True)
class ModelParts:
    """One model as one kind of inputs has shown it; rows 0..L for L layers."""

    layers: tuple[nn.Module, ...]
    layers_name: str
    """Of the list that holds them, as `named_modules` has it."""
    stream_slot: Slot
    """Where a layer's arguments hold the residual stream."""
    tail: Tail
    dtype: torch.dtype
    """Of the residual stream."""
    proof: Proof
    """The last row against the model's logits, at every attended position of the watched pass."""
    notes: tuple[str | None, ...]
    """For each row, what it means where it is not the truncated model's."""
    stream_shape: tuple[int, ...]
    """Of the stream in the watched pass."""
    before: tuple[nn.Module, ...]
    """Modules of the outermost calls that end before the first layer begins."""

    def prove(self, computed: Tensor, own: Tensor) -> Proof:
        """The lens's last row against the model's own logits, both [n, vocabulary]."""
        gap = difference(computed.to(own.device), own)
        return as_proof(gap, tolerance(self.dtype, own), self.tail.method)


def as_proof(gap: float, limit: float, method: TailMethod) -> Proof:
    """The record of one comparison of the last row with the model's own logits."""
    return Proof(
        max_abs_difference=finite(gap), tolerance=limit, passed=gap <= limit, method=method
    )
