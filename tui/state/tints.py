"""What the text of an answer can be tinted by, in eight steps. Without Textual."""

from __future__ import annotations

from enum import Enum
from typing import Final

import numpy as np

from tui.state.answer_steps import AnswerSteps
from tui.state.heats import STEPS
from tui.text.numbers import figure, number

_LEAST_SCALE: Final = 1e-6


class Tint(Enum):
    """What is shown by the tint of a token."""

    NOTHING = ""
    PROBABILITY = "probability"
    PICTURE = "picture"
    JS = "js"

    def after(self, step: int) -> Tint:
        """Return the one so many further on, in a circle."""
        tints = list(Tint)
        return tints[(tints.index(self) + step) % len(tints)]

    @property
    def caption(self) -> str:
        """What is measured."""
        return {
            Tint.NOTHING: "no tint",
            Tint.PROBABILITY: "the model's own probability",
            Tint.PICTURE: "the picture's share of attention",
            Tint.JS: "JS against the counterfactual",
        }[self]

    def of(self, steps: AnswerSteps, step: int) -> float | None:
        """Return the value of a step; None where it is not known."""
        return None if self is Tint.NOTHING else steps.figure(self.value, step)

    def is_known(self, steps: AnswerSteps) -> bool:
        """Return whether the values are known."""
        return self is Tint.NOTHING or steps.figures(self.value) is not None

    def top(self, steps: AnswerSteps) -> float:
        """Return the upper end of the scale, which begins at 0: 1 for a probability, otherwise the
        largest value of the answer."""
        if self is Tint.PROBABILITY or self is Tint.NOTHING:
            return 1.0
        values = steps.figures(self.value)
        finite = values[np.isfinite(values)] if values is not None else np.empty(0)
        return max(float(finite.max()) if finite.size else 0.0, _LEAST_SCALE)

    def shown(self, value: float) -> str:
        """Return a value as text."""
        return f"{number(value)} nats" if self is Tint.JS else figure(value).strip()

    def steps(self, steps: AnswerSteps) -> tuple[int, ...]:
        """Return the step of the tint of every token, from 0 to 7; 0 where it is not known."""
        top = self.top(steps)
        found = []
        for step in range(steps.count):
            value = self.of(steps, step)
            share = 0.0 if value is None else value / top
            found.append(min(max(int(share * STEPS), 0), STEPS - 1))
        return tuple(found)
