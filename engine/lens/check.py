"""The whole check of one model: its parts as found, its proof, and every row against the oracle
(the same model cut down to its first layers)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from engine.anatomy.logit_map import difference, tolerance
from engine.anatomy.truncation import truncated_logits
from engine.errors import CannotRead
from engine.lens.lens import Lens

POSITIONS = 8
"""At so many positions, evenly spread, rows are compared with the oracle's."""


@dataclass(frozen=True)
class RowCheck:
    """One row against the model cut down to as many layers."""

    row: int
    difference: float | None
    """Largest absolute difference over positions and vocabulary; None: it cannot be cut there."""
    tolerance: float
    note: str | None
    """What the row says of itself where it is not the truncated model's."""

    @property
    def right(self) -> bool:
        """Whether the row is the truncated model's."""
        return self.difference is not None and self.difference <= self.tolerance

    @property
    def honest(self) -> bool:
        """Whether the row is right, or says that it is not."""
        return self.right or self.note is not None


def describe(lens: Lens) -> list[tuple[str, str]]:
    """What was found of a model, as (what, how) lines."""
    parts = lens.parts
    names = {module: name for name, module in lens.model.named_modules()}
    kinds = sorted({type(layer).__name__ for layer in parts.layers})
    count = len(parts.layers)
    lines = [
        ("layers", f"{parts.layers_name}: {count} of {', '.join(kinds)}; rows 0 to {count}"),
        ("stream", f"{list(parts.stream_shape)}, {str(parts.dtype).removeprefix('torch.')}"),
        *parts.tail.described(names),
    ]
    noted = [row for row, note in enumerate(parts.notes) if note]
    if noted:
        lines.append(("noted", f"rows {', '.join(map(str, noted))}: {parts.notes[noted[0]]}"))
    error = parts.proof.max_abs_difference
    lines.append(
        (
            "proof",
            f"the last row is the model's own logits within {0.0 if error is None else error:.2g} "
            f"(tolerance {parts.proof.tolerance:.2g}) at every position",
        )
    )
    return lines


def check_rows(lens: Lens, inputs: Mapping[str, Any]) -> Iterator[RowCheck]:
    """Rows 0..L, each at up to POSITIONS positions. One pass of the model for every row.

    Raises CannotRead where the model cannot be read at all.
    """
    inputs = lens.on_device(inputs)
    parts = lens.learn(inputs)
    length = parts.stream_shape[parts.tail.position_axis]
    places = torch.linspace(0, length - 1, min(POSITIONS, length)).round().long().unique()
    rows = lens.logits(inputs, places.tolist())
    for row, note in enumerate(parts.notes):
        limit = tolerance(parts.dtype, rows[row])
        try:
            cut = truncated_logits(lens.model, parts.layers_name, parts.layers, row, inputs)
        except CannotRead:
            yield RowCheck(row, None, limit, note)
            continue
        truth = cut[:, places.to(cut.device)].cpu()
        yield RowCheck(row, difference(rows[row], truth), limit, note)
