"""What is looked at along an answer: a row at a step, and by what the text is tinted. Without
Textual."""

from __future__ import annotations

from typing import Final

from tui.state.answer_steps import AnswerSteps
from tui.state.heats import Heat
from tui.state.run_view import RunView
from tui.state.tints import Tint
from tui.text.numbers import figure, number
from tui.text.show import display_text

_HEATS: Final = (Heat.PROBABILITY, Heat.ENTROPY)
"""What is known of every cell of an answer."""
_MOST_TOKEN: Final = 16


class Along:
    """The steps of an answer, and the cursor in them."""

    def __init__(self, run: RunView) -> None:
        self.run = run
        self.steps = AnswerSteps()
        self.step = 0
        self.row = run.run.layers
        self.tint = Tint.NOTHING
        self.heat = Heat.PROBABILITY
        self.follows = True
        """Whether the cursor goes to each new token: until the user moves it."""

    def put(self, steps: AnswerSteps) -> None:
        """Look along other steps, at the same place as far as they have it."""
        self.steps = steps
        self.grew()

    def grew(self) -> None:
        """Follow the newest token, if the cursor does."""
        last = max(self.steps.count - 1, 0)
        self.step = last if self.follows else min(self.step, last)

    def go_to(self, step: int, row: int | None = None) -> None:
        """Go to a token, and to a row if it is given; as near as there are any."""
        self.follows = False
        self.step = min(max(step, 0), max(self.steps.count - 1, 0))
        if row is not None:
            self.row = min(max(row, 0), self.run.run.layers)

    def next_heat(self) -> None:
        """Colour the cells by the next measure."""
        self.heat = _HEATS[(_HEATS.index(self.heat) + 1) % len(_HEATS)]

    @property
    def position(self) -> int:
        """The position whose rows are those of the step under the cursor: the one before its
        token."""
        own = self.run.own.run
        return own.position if self.step == 0 else len(own.tokens) + self.step - 1

    @property
    def hues(self) -> dict[int, int]:
        """Token id -> colour: those of the run, and then the answer's tokens."""
        hues = dict(self.run.own.hues)
        for token in self.steps.tokens:
            hues.setdefault(token, len(hues))
        return hues

    def best_by_tint(self, by: int) -> int | None:
        """Return the token with the next largest tint after the one under the cursor, or the next
        smaller one; None where no tint is known."""
        values = [(self.tint.of(self.steps, step), step) for step in range(self.steps.count)]
        order = [step for value, step in sorted(values, key=_largest_first) if value is not None]
        if not order:
            return None
        at = order.index(self.step) if self.step in order else -by
        return order[(at + by) % len(order)]

    def cell_words(self, *, ascii_only: bool) -> str:
        """Return what the cell under the cursor holds, each in a width of its own."""
        cell = self.steps.cell(self.row, self.step)
        if cell is None:
            return ""
        shown = display_text(cell.text, _MOST_TOKEN, ascii_only=ascii_only)
        words = [f"row {self.row:<2}", shown, figure(cell.probability)]
        if self.heat is Heat.ENTROPY:
            words.append(f"entropy {_number(cell.entropy):<7}")
        words.append(f"rms {_number(cell.rms):<7}")
        return "  ".join(words)


def _largest_first(pair: tuple[float | None, int]) -> tuple[float, int]:
    value, step = pair
    return (-(value if value is not None else float("-inf")), step)


def _number(value: float) -> str:
    return number(value if value == value and abs(value) != float("inf") else None)
