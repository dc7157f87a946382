"""The tokens plotted over the layers of a run, and their values in every row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from engine.records import LayerReading, Tracked
from tui.state.measures import Measure
from tui.state.run_view import RunView

MOST: Final = 12
"""Most curves in one plot; more could not be told apart."""


@dataclass(frozen=True)
class Curve:
    """One token's values over the rows."""

    id: int
    text: str
    hue: int | None
    """Index of its colour, as in `RunView.hues`."""
    is_answer: bool
    points: tuple[float | None, ...]
    """A value for every row read so far: the probability, its natural logarithm, or the rank;
    None where it is not known."""

    @property
    def known(self) -> tuple[tuple[int, float], ...]:
        """Pairs of row and value, for the rows in which the value is known."""
        return tuple((row, value) for row, value in enumerate(self.points) if value is not None)

    @property
    def stretches(self) -> tuple[tuple[tuple[int, float], ...], ...]:
        """The known points, split at rows without a value so that no line bridges them."""
        return stretches(self.points)


def stretches(values: Sequence[float | None]) -> tuple[tuple[tuple[int, float], ...], ...]:
    """Return pairs of row and value, for rows 0, 1, ..., split at rows without a value."""
    parts: list[list[tuple[int, float]]] = [[]]
    for row, value in enumerate(values):
        if value is not None:
            parts[-1].append((row, value))
        elif parts[-1]:
            parts.append([])
    return tuple(tuple(part) for part in parts if part)


def curves_of(
    run: RunView, measure: Measure, *, leaders: bool = True
) -> tuple[tuple[Curve, ...], int]:
    """Return the curves of a run, and how many more are left out.

    The curves are the answer, the tokens that the user tracks, and, with `leaders` or while there
    is no answer, every token that is top-1 in any row, ordered by the number of rows that they lead
    and then by probability. While rows arrive, a token's value is known only in rows that hold it
    among their top tokens.
    """
    answer = run.answer
    followed = {tracked.id: tracked for tracked in run.run.tracked}
    tokens: dict[int, str] = {}
    if answer is not None:
        tokens[answer.id] = answer.text
    tokens |= {known.id: known.text for known in run.run.tracked if known.why == "user"}
    for leader in sorted(run.leaders, key=lambda token: _lead(run.rows, token.id), reverse=True):
        tokens.setdefault(leader.id, leader.text)
    least = MOST
    if answer is not None and not leaders:
        least = len({answer.id, *(known.id for known in run.run.tracked if known.why == "user")})
    shown = list(tokens)[: min(least, MOST)]
    hues = run.hues
    curves = tuple(
        Curve(
            token,
            tokens[token],
            hues.get(token),
            answer is not None and token == answer.id,
            _points(run.rows, token, followed.get(token), measure),
        )
        for token in shown
    )
    return curves, len(tokens) - len(shown)


def _points(
    rows: Sequence[LayerReading], token: int, tracked: Tracked | None, measure: Measure
) -> tuple[float | None, ...]:
    if tracked is not None and len(tracked.probability) == len(rows):
        pairs = zip(tracked.probability, tracked.rank, strict=True)
        return tuple(measure.of(probability, rank) for probability, rank in pairs)
    return tuple(_known_in(row, token, measure) for row in rows)


def _known_in(row: LayerReading, token: int, measure: Measure) -> float | None:
    for place, candidate in enumerate(row.top, 1):
        if candidate.id == token:
            return measure.of(candidate.probability, float(place))
    return None


def _lead(rows: Sequence[LayerReading], token: int) -> tuple[int, float]:
    """Return in how many rows a token is top-1, and its highest probability in them."""
    led = [row.top[0].probability for row in rows if row.top and row.top[0].id == token]
    return len(led), max(led, default=0.0)
