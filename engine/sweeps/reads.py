"""What sweeps can read of every question besides its rows, by the names of methods."""

from __future__ import annotations

from typing import Final

ATTENTION: Final = "attention"
ANSWER: Final = "answer"
READS: Final = (ATTENTION, ANSWER)
