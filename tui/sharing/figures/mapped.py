"""Which numbers of a run's readings can be laid over its picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from engine.errors import BadInput
from engine.methods.attention import AttentionReading
from engine.methods.geometry import GeometryReading
from engine.methods.saliency import SaliencyReading
from engine.methods.words import WordsReading
from engine.records import Reading, Run
from tui.sharing.figures.style import token
from tui.state.maps import Floats, Map, Scale, on_patches
from tui.state.patches import Patches

NO_PATCHES: Final = (
    "this run does not know which part of its picture a token shows: read `geometry` first"
)


@dataclass(frozen=True, eq=False)
class Mapped:
    """A map over the patches of a picture, for one row or several."""

    what: str
    """The reading's name or the word, as it is asked for."""
    map: Map
    label: str
    """What the numbers are, for the colour bar."""

    @property
    def scale(self) -> Scale:
        """The same for all rows; two-sided if some numbers are negative."""
        finite = self.map.values[np.isfinite(self.map.values)]
        if finite.size and finite.min() < 0:
            reach = float(np.abs(finite).max())
            return Scale(-reach, reach)
        return self.map.scale(log=False)

    @property
    def best_row(self) -> int:
        """The row that holds the highest number."""
        return self.map.ranked[0].row if self.map.ranked else self.map.rows[-1]


def patches_of(run: Run) -> Patches:
    """Return the patches that the run's geometry gives. Raises BadInput if it has none."""
    for reading in reversed(run.readings):
        if isinstance(reading, GeometryReading) and reading.worth_keeping and reading.how != "none":
            return Patches.of(reading, len(run.tokens))
    raise BadInput(NO_PATCHES)


def mapped(run: Run, patches: Patches, wanted: str = "") -> Mapped:
    """Return the map of a word, of "attention" or of "saliency"; the newest if none is named.

    Raises BadInput if the run has none.
    """
    found = [
        each
        for reading in reversed(run.readings)
        if reading.worth_keeping
        for each in _maps(reading, patches)
    ]
    for each in found:
        if wanted in ("", each.what):
            return each
    known = ", ".join(dict.fromkeys(each.what for each in found))
    if not known:
        raise BadInput("this run has no map: read `words`, `attention` or `saliency` first")
    raise BadInput(f"this run has no map of {wanted!r}; it has {known}")


def _maps(reading: Reading, patches: Patches) -> list[Mapped]:
    if isinstance(reading, WordsReading):
        return [
            Mapped(
                word.text,
                on_patches(reading.rows, reading.positions, values, patches.positions, "p"),
                f"probability of {token(word.text)}",
            )
            for word, values in zip(reading.words, reading.probability.values, strict=True)
        ]
    if isinstance(reading, AttentionReading):
        layers = [
            (each.layer, _mean(each.map.values))
            for each in reading.layers
            if each.map is not None and each.keys == "tokens"
        ]
        if not layers:
            return []
        rows, values = zip(*layers, strict=True)
        found = on_patches(
            rows, reading.cells.integers, np.stack(values), patches.positions, "weight"
        )
        return [Mapped("attention", found, f"attention from position {reading.position}")]
    if isinstance(reading, SaliencyReading):
        row = reading.request.row or 0
        found = on_patches(
            [row], reading.cells.integers, reading.map.values[None], patches.positions, "contrast"
        )
        return [Mapped("saliency", found, f"saliency ({reading.request.way})")]
    return []


def _mean(values: Floats) -> Floats:
    """Of float32 [cells] or [heads, cells]: [cells]."""
    found: Floats = values if values.ndim == 1 else values.mean(axis=0)
    return found
