"""Letters on the lines of a plot, for where colours do not tell the lines apart."""

from __future__ import annotations

import math
import string
from collections.abc import Sequence
from typing import Final, TypeVar

_LETTERS: Final = string.ascii_lowercase + string.ascii_uppercase
_EVERY: Final = 6
"""Cells between two letters of a line."""

PointT = TypeVar("PointT", bound=tuple[float, float])


def letter_of(index: int) -> str:
    """Return the letter of a line."""
    return _LETTERS[index % len(_LETTERS)]


def lettered(points: Sequence[PointT], index: int, last: int, width: int) -> Sequence[PointT]:
    """Return the points that are marked with the line's letter in a plot of places 0 to `last`, so
    many cells wide: some cells apart, and at other places than those of neighbouring lines, which
    a letter may cover; always one if there is any."""
    step = max(math.ceil(_EVERY * last / max(width, 1)), 1)
    return [point for point in points if (int(point[0]) - index) % step == 0] or points[:1]
