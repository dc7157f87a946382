"""The full check of a model: its parts, its proof, and every row against the truncated model (the
same model cut down to its first layers), which is the ground truth."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from engine.anatomy.logit_map import difference, tolerance
from engine.anatomy.truncation import truncated_logits
from engine.errors import CannotRead
from engine.lens.lens import Lens
from engine.lens.picture_patches import PicturePatches

POSITIONS = 8
"""At how many positions, evenly spread, rows are compared with the truncated model."""


@dataclass(frozen=True)
class RowCheck:
    """One row against the model cut down to as many layers."""

    row: int
    difference: float | None
    """Largest absolute logit difference over positions and vocabulary; None if the model does not
    run with so few layers."""
    tolerance: float
    note: str | None
    """Why the row is not exactly the truncated model's, if the lens says so."""

    @property
    def right(self) -> bool:
        """Whether the row equals the truncated model's logits, within the tolerance."""
        return self.difference is not None and self.difference <= self.tolerance

    @property
    def honest(self) -> bool:
        """Whether the row is right, or says that it is not."""
        return self.right or self.note is not None


def describe(lens: Lens) -> list[tuple[str, str]]:
    """What was found out about a model, as (what, how) lines."""
    parts = lens.model_parts
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


def describe_patches(found: PicturePatches) -> str:
    """How the tokens of a picture show its parts, in one line."""
    boxes = found.boxes
    if boxes is None:
        return f"none: {found.reason}"
    tiles = boxes.tile.unique().tolist()
    grids = {
        tuple(int(each[boxes.tile == tile].max()) + 1 for each in (boxes.row, boxes.column))
        for tile in tiles
    }
    text = f"{found.how}: {len(boxes.tokens)} tokens"
    if len(tiles) > 1:
        text += f" in {len(tiles)} tiles"
    if len(grids) == 1:
        rows, columns = grids.pop()
        text += f", {rows} x {columns}" + (" each" if len(tiles) > 1 else "")
    width, height = found.size
    text += f", of a picture of {width} x {height} pixels"
    return f"{text} ({found.reason})" if found.reason else text


def check_rows(lens: Lens, inputs: Mapping[str, Any]) -> Iterator[RowCheck]:
    """Check rows 0..L at up to POSITIONS positions, with one pass of the model for each row.

    Raises CannotRead if the model cannot be read at all.
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
