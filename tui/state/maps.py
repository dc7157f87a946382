"""What can be mapped onto the patches, as plain arrays; and the eight steps of a tint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from engine.methods.attention import Way
from tui.text.numbers import figure, number, signed_figure, signed_number

Floats = npt.NDArray[np.float32]
Steps = npt.NDArray[np.uint8]

STEPS: Final = 8
NO_STEP: Final = 255
"""The step of a cell that has no number."""
_DECADES: Final = 4.0
"""How far below the highest probability a logarithmic scale reaches."""
_LEAST: Final = 1.2e-38
"""The smallest float32 that is not denormal stands for a probability that has vanished."""
_MOST_RANKED: Final = 10_000

Unit = Literal[
    "p", "contrast", "nats", "rms", "weight", "norm", "times", "share", "saliency", "relevance"
]
"""What the numbers of a map are. Three are of attention: a weight, the norm of what arrives, and
how many times the weight of a neutral prompt. A share of a logit and saliency have a sign, the
relevance of gradient x attention has none."""
OF_ATTENTION: Final[dict[Way, Unit]] = {
    "weight": "weight",
    "contribution": "norm",
    "relative": "times",
}
FROM_ZERO: Final = ("p", "weight", "norm", "times", "relevance")
"""Their scales begin at 0."""
SIGNED: Final = ("share", "saliency")
"""Their scales reach as far below 0 as above."""


@dataclass(frozen=True)
class Scale:
    """From which number to which the steps reach; the same for all rows of a map."""

    low: float
    high: float
    log: bool = False

    def steps(self, values: Floats) -> Steps:
        """Return the step of each value, 0 to 7; NO_STEP where it is NaN. Values below the scale
        are in step 0, values above in step 7."""
        known = ~np.isnan(values)
        numbers = np.where(known, values, self.low).astype(np.float64)
        low, high = self.low, self.high
        if self.log:
            numbers = np.log(np.maximum(numbers, low))
            low, high = float(np.log(low)), float(np.log(high))
        width = high - low
        share = (numbers - low) / width if width > 0 else np.zeros_like(numbers)
        steps = np.clip(np.floor(np.clip(share, 0, 1) * STEPS), 0, STEPS - 1).astype(np.uint8)
        steps[~known] = NO_STEP
        return steps


def signed_scale(values: Floats) -> Scale:
    """Return the scale from -m to m, where m is the largest absolute value: steps 0 to 3 are
    negative, the strongest first, and 4 to 7 positive, the strongest last."""
    finite = np.abs(values[np.isfinite(values)])
    most = float(finite.max()) if finite.size else 0.0
    return Scale(-most, most)


def signed_steps(values: Floats, scale: Scale) -> Steps:
    """Return the step of each value; NO_STEP where it is 0 or no number."""
    return scale.steps(np.where(np.isfinite(values) & (values != 0), values, np.float32("nan")))


class Cell(NamedTuple):
    """A cell of a map."""

    row: int
    patch: int
    value: float


@dataclass(frozen=True, eq=False)
class Map:
    """A number for every row and patch, as far as they have been read."""

    rows: tuple[int, ...]
    """Ascending."""
    values: Floats
    """float32 [R, n]; NaN where there is none."""
    unit: Unit

    def row(self, row: int) -> Floats:
        """Return float32 [n], the numbers of one row; NaN if it has not been read."""
        if row in self._places:
            found: Floats = self.values[self._places[row]]
            return found
        return np.full(self.values.shape[1], np.nan, np.float32)

    @cached_property
    def _places(self) -> dict[int, int]:
        return {row: place for place, row in enumerate(self.rows)}

    def scale(self, *, log: bool) -> Scale:
        """Return the scale for all rows: probabilities and attention from 0 (or from a
        ten-thousandth of the highest, logarithmically), contrasts from 0 too, signed ones around 0,
        all others from their lowest."""
        finite = self.values[np.isfinite(self.values)]
        if not finite.size:
            return Scale(0.0, 1.0)
        if self.unit in SIGNED:
            return signed_scale(finite)
        low, high = float(finite.min()), float(finite.max())
        if self.unit == "contrast":
            return Scale(0.0, max(high, 0.0))
        if self.unit in FROM_ZERO:
            if log and high > 0:
                return Scale(max(high / 10**_DECADES, _LEAST), high, log=True)
            return Scale(0.0, high)
        if log and low > 0:
            return Scale(low, high, log=True)
        return Scale(low, high)

    def contrast(self) -> Map:
        """Return log p minus its mean over the patches of the same row. It reorders: what all
        patches share is taken away."""
        with np.errstate(invalid="ignore"):
            logs = np.log(np.maximum(self.values, np.float32(_LEAST)))
        known = ~np.isnan(logs)
        counts = np.maximum(known.sum(axis=1, keepdims=True), 1)
        means = np.where(known, logs, 0).sum(axis=1, keepdims=True) / counts
        return Map(self.rows, (logs - means).astype(np.float32), "contrast")

    @cached_property
    def count(self) -> int:
        """How many cells have a number."""
        return int((~np.isnan(self.values)).sum())

    @cached_property
    def ranked(self) -> tuple[Cell, ...]:
        """The highest cells of all rows and patches, the highest first; equal ones in the order of
        rows and patches."""
        flat = self.values.ravel()
        order = np.argsort(-np.where(np.isnan(flat), -np.inf, flat), kind="stable")
        count = min(self.count, _MOST_RANKED)
        width = self.values.shape[1]
        return tuple(
            Cell(self.rows[int(at) // width], int(at) % width, float(flat[at]))
            for at in order[:count]
        )

    def text(self, value: float) -> str:
        """Return a number of this map in few characters."""
        if np.isnan(value):
            return "-"
        if self.unit in ("p", "weight"):
            return figure(value).strip()
        if self.unit == "times":
            return f"{number(value)} times"
        if self.unit == "contrast":
            return f"{value:+.2f}"
        if self.unit == "saliency":
            return signed_number(value)
        if self.unit in SIGNED:
            return signed_figure(value)
        return number(value)


def on_patches(
    rows: Sequence[int],
    positions: Sequence[int],
    values: npt.NDArray[Any],
    patches: Sequence[int],
    unit: Unit,
) -> Map:
    """Return the map of numbers [R, P] that were read at certain positions, for the patches at
    theirs; patches that were not read have no number."""
    places = {position: place for place, position in enumerate(positions)}
    taken = [places.get(position, -1) for position in patches]
    columns = np.array(taken, dtype=np.intp)
    found = np.full((len(rows), len(patches)), np.nan, np.float32)
    known = columns >= 0
    found[:, known] = values[:, columns[known]]
    found[np.isinf(found)] = np.nan
    return Map(tuple(rows), found, unit)
