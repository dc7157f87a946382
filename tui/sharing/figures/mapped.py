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
from tui.state.maps import OF_ATTENTION, Floats, Map, Unit, on_patches
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
    says: str
    """What the numbers are."""
    by: str = ""
    """What a row of the map is: "row", "layer", or nothing where there is one for all."""

    def label(self, row: int) -> str:
        """What the numbers of one row are, for the colour bar."""
        return f"{self.says}, {self.by} {row}" if self.by else self.says

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
                "row",
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
        way, position = reading.request.way, reading.position
        found = on_patches(
            rows, reading.cells.integers, np.stack(values), patches.positions, OF_ATTENTION[way]
        )
        says = {
            "weight": f"attention from position {position}",
            "contribution": f"what arrives through attention at position {position}",
            "relative": f"attention from position {position} against a neutral prompt, times",
        }[way]
        return [Mapped("attention", found, f"{says}, mean over heads", "layer")]
    if isinstance(reading, SaliencyReading):
        return [_saliency(reading, patches)]
    return []


def _saliency(reading: SaliencyReading, patches: Patches) -> Mapped:
    request = reading.request
    unit: Unit = "relevance" if request.way == "attention" else "saliency"
    values = reading.map.values[None]
    row = request.row or 0
    found = on_patches([row], reading.cells.integers, values, patches.positions, unit)
    if request.way == "attention":
        return Mapped("saliency", found, "relevance (gradient x attention, all layers)")
    where = "at the pixels" if request.row is None else f"in row {request.row}"
    return Mapped("saliency", found, f"saliency ({request.way}) {where}")


def _mean(values: Floats) -> Floats:
    """Of float32 [cells] or [heads, cells]: [cells]."""
    found: Floats = values if values.ndim == 1 else values.mean(axis=0)
    return found
