"""What the colour of a grid's cells can say, in eight steps."""

from __future__ import annotations

import math
from enum import Enum
from typing import Final

STEPS: Final = 8

_ENTROPY_STEP: Final = 1.5
_KL_STEP: Final = 1.0


class Heat(Enum):
    """What is measured."""

    PROBABILITY = "probability"
    ENTROPY = "entropy"
    KL = "kl"
    WORD = "word"

    @property
    def next(self) -> Heat:
        """The next one, in a circle."""
        heats = list(Heat)
        return heats[(heats.index(self) + 1) % len(heats)]

    @property
    def caption(self) -> str:
        """What is measured, and what one of the eight steps is."""
        return {
            Heat.PROBABILITY: "probability of the best token, in eighths",
            Heat.ENTROPY: f"entropy, {_ENTROPY_STEP} nats a step",
            Heat.KL: f"KL to the last row, {_KL_STEP:.0f} nat a step",
            Heat.WORD: "probability, a factor of 10 a step from 1e-7",
        }[self]

    def step(self, value: float | None) -> int:
        """Return the step of a value, from 0 to 7; 0 where it is not known. The same value has the
        same colour in every run."""
        if value is None or not math.isfinite(value) or value <= 0:
            return 0
        match self:
            case Heat.PROBABILITY:
                steps = value * STEPS
            case Heat.ENTROPY:
                steps = value / _ENTROPY_STEP
            case Heat.KL:
                steps = value / _KL_STEP
            case Heat.WORD:
                steps = STEPS + math.log10(value)
        return min(max(int(steps), 0), STEPS - 1)
