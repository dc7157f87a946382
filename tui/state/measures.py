"""The measures of a token that can be plotted over the rows, each declared only here."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from tui.text.numbers import figure

_LOWEST_LOG: Final = -30.0

Tick = tuple[float, str]
Ticks = Callable[[float, int], list[Tick]]
"""Takes the lowest point and the height in cells; returns the ticks of the axis."""


class Measure(Enum):
    """What is plotted of a token; the value is its name in config.toml."""

    PROBABILITY = "probability"
    LOG = "log"
    RANK = "rank"

    @property
    def next(self) -> Measure:
        """Return the measure after this one; the first follows the last."""
        every = list(Measure)
        return every[(every.index(self) + 1) % len(every)]

    @property
    def caption(self) -> str:
        """The caption above the plot."""
        return _FACTS[self].caption

    def of(self, probability: float | None, rank: float | None) -> float | None:
        """Return the value of a token in a row; None where it is not known."""
        return _FACTS[self].of(probability, rank)

    def shown(self, value: float) -> str:
        """Return the value as the legend shows it."""
        return _FACTS[self].shown(value)

    def height(self, value: float) -> float:
        """Return the value's vertical coordinate."""
        return _FACTS[self].height(value)

    def axis(self, heights: Sequence[float], cells: int) -> tuple[float, float, list[Tick]]:
        """Return the lowest and the highest point of the axis and its ticks, for so many cells."""
        facts = _FACTS[self]
        low, high = facts.range(heights)
        return low, high, facts.ticks(low, cells)


@dataclass(frozen=True)
class _Facts:
    caption: str
    of: Callable[[float | None, float | None], float | None]
    shown: Callable[[float], str]
    height: Callable[[float], float]
    range: Callable[[Sequence[float]], tuple[float, float]]
    ticks: Ticks


def _percent_ticks(low: float, cells: int) -> list[Tick]:
    return [(n / 100, f"{n}%") for n in range(0, 101, 25 if cells >= 5 else 50)]


def _ticks_down(steps: Sequence[float], mark: Callable[[float], str]) -> Ticks:
    """Return a function that makes ticks from 0 downwards, as many as fit."""

    def ticks(low: float, cells: int) -> list[Tick]:
        step = next((step for step in steps if -low / step < min(cells, 6)), steps[-1])
        return [(-step * n, mark(step * n)) for n in range(int(-low / step) + 1)]

    return ticks


def _down_to_zero(heights: Sequence[float]) -> tuple[float, float]:
    return min([*heights, -1.0]), 0.0


def _log_mark(depth: float) -> str:
    return f"{-depth:g}" if depth else "0"


def _rank_mark(depth: float) -> str:
    thousands, rest = divmod(round(depth), 3)
    return "#1" + "0" * rest + ("", "k", "M")[min(thousands, 2)]


_FACTS: Final = {
    Measure.PROBABILITY: _Facts(
        caption="probability over the layers",
        of=lambda probability, rank: probability,
        shown=lambda value: figure(value).strip(),
        height=lambda value: value,
        range=lambda heights: (0.0, 1.0),
        ticks=_percent_ticks,
    ),
    Measure.LOG: _Facts(
        caption="log probability (ln) over the layers",
        of=lambda probability, rank: math.log(probability) if probability else None,
        shown=lambda value: f"{value:.2f}",
        height=lambda value: max(value, _LOWEST_LOG),
        range=_down_to_zero,
        ticks=_ticks_down((0.5, 1.0, 2.0, 5.0, 10.0, 15.0), _log_mark),
    ),
    Measure.RANK: _Facts(
        caption="rank over the layers (1 is the most probable)",
        of=lambda probability, rank: rank,
        shown=lambda value: f"#{value:.0f}",
        height=lambda value: -math.log10(value),  # by order of magnitude, with the best on top
        range=_down_to_zero,
        ticks=_ticks_down((1.0, 2.0, 3.0), _rank_mark),
    ),
}
