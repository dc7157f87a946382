"""Learns a model: watches one pass, proves how its rows are read, and checks doubtful rows."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from torch import nn

from engine.anatomy.hooks import evaluating
from engine.anatomy.logit_map import difference, tolerance
from engine.anatomy.parts import ModelParts, members_outside
from engine.anatomy.tail import RowStream, Tail
from engine.anatomy.truncation import truncated_logits
from engine.anatomy.watching import Anatomy, watch
from engine.errors import Cancelled, CannotRead
from engine.lens.proving import attended_positions, find_tail
from engine.passes.forward import Forward
from engine.system.phases import phase


def learn(model: nn.Module, inputs: Mapping[str, Any]) -> ModelParts:
    """Find the parts of `model` and prove them on `inputs`.

    Raises CannotRead, which names what was not found or which check failed.
    """
    anatomy = watch(model, inputs)
    with phase("proving"), evaluating(model):
        tail, proof, stream = find_tail(model, anatomy, inputs)
    parts = ModelParts(
        layers=anatomy.layers,
        layers_name=anatomy.layers_name,
        stream_slot=anatomy.stream_slot,
        tail=tail,
        dtype=stream.dtype,
        proof=proof,
        notes=(None,) * (len(anatomy.layers) + 1),
        stream_shape=tuple(stream.shape),
        before=tuple(dict.fromkeys(anatomy.before_layers)),
        outside=members_outside(model, anatomy.layers),
        overwrites=anatomy.overwrites,
    )
    with phase("proving"):
        notes = _notes(model, parts, _doubtful_rows(anatomy, tail), inputs)
    return replace(parts, notes=notes)


def _doubtful_rows(anatomy: Anatomy, tail: Tail) -> dict[int, str]:
    """Rows that may differ from the truncated model's, each with the note for when it does."""
    doubtful = {
        row: f"includes what the model adds to the stream before layer {row + 1}; "
        f"cut down to {row} layers, it would not add that"
        # Row 0 has no previous layer with whose output it could be compared.
        for row in (0, *anatomy.changed_rows)
    }
    if tail.companion_slots:
        for row in range(1, len(anatomy.layers)):
            doubtful.setdefault(
                row,
                "read with tensors other than the stream; differs from the model cut down here",
            )
    return doubtful


def _notes(
    model: nn.Module, parts: ModelParts, doubtful: Mapping[int, str], inputs: Mapping[str, Any]
) -> tuple[str | None, ...]:
    """Compare the doubtful rows with the truncated model: those that differ get their note."""
    rows: dict[int, RowStream] = {}

    def keep(row: int, read: RowStream) -> None:
        if row in doubtful:
            rows[row] = read
        if row == max(doubtful):
            forward.cancelled.set()  # no later layer is needed

    length = parts.stream_shape[parts.tail.position_axis]
    forward = Forward(model, parts, inputs, range(length))
    with suppress(Cancelled):
        forward.run(keep)
    notes: list[str | None] = [None] * (len(parts.layers) + 1)
    for row, read in rows.items():
        try:
            cut = truncated_logits(model, parts.layers_name, parts.layers, row, inputs)
        except CannotRead:
            # Many models do not run without any layer; row 0, the embedding, then needs no note.
            notes[row] = "cannot be compared with the model cut down here" if row else None
            continue
        attended = attended_positions(inputs, cut)
        with forward.evaluating():
            computed = forward.project([read])
        truth = cut[attended.to(cut.device)]
        computed = computed[attended.flatten().to(computed.device)].to(truth.device)
        if difference(computed, truth) > tolerance(parts.dtype, truth):
            notes[row] = doubtful[row]
    return tuple(notes)
