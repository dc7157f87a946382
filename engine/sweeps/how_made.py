"""How the passes of a sweep's items were made: what of them was taken from those of others."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from msgspec import UNSET

from engine.records import Made
from engine.sweeps.records import SweepItem
from engine.sweeps.words import counted, shortened


@dataclass
class HowMade:
    """Counts of all lines of a sweep, those with something instead of the picture among them."""

    lines: int = 0
    went_on: int = 0
    """Those that went on from the keys and values of what the questions about a picture share."""
    tokens: int = 0
    """How many of their tokens were not run, all together."""
    shared_vision: int = 0
    """Those of the others that shared a picture's vision pass."""
    reasons: Counter[str] = field(default_factory=Counter)
    """Why others did not go on."""

    def add(self, item: SweepItem) -> None:
        """Count a line."""
        made = Made() if item.made is UNSET else item.made
        self.lines += 1
        self.tokens += made.prefix
        if made.prefix:
            self.went_on += 1
        elif made.vision == "reused":
            self.shared_vision += 1
        if made.reason is not None:
            self.reasons[made.reason] += 1

    def words(self) -> str:
        """All of it in words; empty where every pass was made as a whole and nothing is known of
        why."""
        said = []
        if self.went_on:
            said.append(
                f"{self.went_on:,} of {counted(self.lines, 'line')} went on from the keys and "
                f"values of {self.tokens / self.went_on:.0f} tokens (mean) that the questions "
                "about a picture share"
            )
        if self.shared_vision:
            lines = "" if self.went_on else f" of {counted(self.lines, 'line')}"
            said.append(f"{self.shared_vision:,}{lines} shared a vision pass alone")
        for reason, count in self.reasons.most_common(1):
            said.append(f"{count:,} did not go on: {shortened(reason)}")
        return f"How passes were made: {'; '.join(said)}." if said else ""
