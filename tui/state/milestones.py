"""When a tracked token comes up, and how high: its way through the rows in four figures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from engine.records import Tracked
from tui.text.numbers import figure

_NEAR: Final = 10


@dataclass(frozen=True)
class Milestones:
    """The way of one token; None where it never comes so far, or where it is not known."""

    first_near: int | None
    """The first row that has it among its ten best tokens."""
    first_best: int | None
    """The first row whose top-1 it is."""
    peak: tuple[int, float] | None
    """The row with its highest probability, and that."""
    last_rank: int | None

    @property
    def words(self) -> str:
        """Return them as people read them."""
        near = f"top-{_NEAR} row {self.first_near}" if self.first_near is not None else ""
        best = f"top-1 row {self.first_best}" if self.first_best is not None else "never top-1"
        parts = [near or f"never in the top {_NEAR}", best]
        if self.peak is not None:
            parts.append(f"peak {figure(self.peak[1]).strip()} row {self.peak[0]}")
        if self.last_rank is not None:
            parts.append(f"last #{self.last_rank}")
        return ", ".join(parts)


def milestones(tracked: Tracked) -> Milestones:
    """Return the milestones of a token that has been followed through the rows."""
    ranks = [(row, rank) for row, rank in enumerate(tracked.rank) if rank is not None]
    shares = [(share, -row) for row, share in enumerate(tracked.probability) if share is not None]
    highest = max(shares, default=None)
    return Milestones(
        first_near=next((row for row, rank in ranks if rank <= _NEAR), None),
        first_best=next((row for row, rank in ranks if rank == 1), None),
        peak=None if highest is None else (-highest[1], highest[0]),
        last_rank=tracked.rank[-1] if tracked.rank else None,
    )
