"""What a method found about the items of a sweep by depth, as arrays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from msgspec import UNSET
from numpy.typing import NDArray

from engine.sweeps.reads import by_depth
from engine.sweeps.records import DepthReading, SweepItem

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


class About(NamedTuple):
    """One thing that a method was asked about."""

    of: str
    by: str
    """Whether curves are by "layer" or by "row"."""


@dataclass(frozen=True)
class Depth:
    """What one method found about n items; NaN where an item does not have it."""

    numbers: Mapping[About, Mapping[str, Floats]]
    """By name: [n]."""
    curves: Mapping[About, Mapping[str, Floats]]
    """By name: [n, layers], or [n, rows]."""
    read: Bools
    """[n]: whether it was read."""
    proofs: Floats
    """[n]: the error as a share of its tolerance."""
    reasons: tuple[str | None, ...]
    """[n]: why nothing could be read; None if it was, or if it was not tried."""

    def only(self, kept: Bools) -> Depth:
        """Of these items alone."""
        return replace(
            self,
            numbers=_kept(self.numbers, kept),
            curves=_kept(self.curves, kept),
            read=self.read[kept],
            proofs=self.proofs[kept],
            reasons=tuple(each for each, keep in zip(self.reasons, kept, strict=True) if keep),
        )


def _kept(
    arrays: Mapping[About, Mapping[str, Floats]], kept: Bools
) -> dict[About, dict[str, Floats]]:
    return {about: {name: each[kept] for name, each in of.items()} for about, of in arrays.items()}


Readings = Mapping[str, DepthReading]
"""Those of one item, by the names of methods."""


def depth_readings(item: SweepItem) -> dict[str, DepthReading]:
    """The readings by depth of an item."""
    if item.readings is UNSET:
        return {}
    return {
        str(type(each).__struct_config__.tag): each
        for each in item.readings
        if isinstance(each, DepthReading)
    }


def depth_of(readings: Sequence[Readings], layers: int) -> dict[str, Depth]:
    """What each method found about n items, some of which may have nothing."""
    found = {each.name: [item.get(each.name) for item in readings] for each in by_depth()}
    return {name: _depth(of, layers) for name, of in found.items() if any(of)}


def names_in(readings: Readings) -> Iterator[tuple[str, str, str]]:
    """What tells the numbers and curves of one item apart."""
    for method, reading in readings.items():
        for each in reading.sets:
            for name in (*each.numbers, *(curve.name for curve in each.curves)):
                yield method, each.of, name


def _depth(readings: Sequence[DepthReading | None], layers: int) -> Depth:
    count = len(readings)
    numbers: dict[About, dict[str, Floats]] = {}
    curves: dict[About, dict[str, Floats]] = {}
    proofs = np.full(count, np.nan)
    for index, reading in enumerate(readings):
        if reading is None:
            continue
        if reading.proof is not None and reading.proof.error is not None:
            proofs[index] = reading.proof.error / reading.proof.tolerance
        for each in reading.sets:
            about, wide = About(each.of, each.by), layers + (each.by == "row")
            named, drawn = numbers.setdefault(about, {}), curves.setdefault(about, {})
            for name, value in each.numbers.items():
                array = named.setdefault(name, np.full(count, np.nan))
                array[index] = np.nan if value is None else value
            for curve in each.curves:
                array = drawn.setdefault(curve.name, np.full((count, wide), np.nan))
                array[index] = [np.nan if value is None else value for value in curve.values]
    return Depth(
        numbers,
        curves,
        np.array([each is not None and bool(each.sets) for each in readings]),
        proofs,
        tuple(None if each is None else each.reason for each in readings),
    )
