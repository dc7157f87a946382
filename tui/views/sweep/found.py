"""What a search has found in a page."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tui.views.sweep.section_pane import Match


@dataclass(frozen=True)
class Found:
    """The matches, and the one that is looked at."""

    wanted: str = ""
    every: tuple[tuple[int, Match], ...] = ()
    """From top to bottom: the number of the section, and where in it."""
    at: int = 0

    @property
    def here(self) -> tuple[int, Match] | None:
        """The match that is looked at; None if nothing was found."""
        return self.every[self.at] if self.every else None

    @property
    def words(self) -> str:
        """What a title says of it."""
        if not self.wanted:
            return ""
        place = f"{self.at + 1:,} of {len(self.every):,}" if self.every else "nothing says so"
        return f"/{self.wanted}: {place}"

    def stepped(self, step: int) -> Found:
        """The same, looking at another match."""
        return replace(self, at=(self.at + step) % len(self.every)) if self.every else self
