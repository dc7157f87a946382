"""A list of answers beside what they have without the picture."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from engine.methods.debias import DebiasedAnswer, DebiasReading
from tui.text.numbers import figure
from tui.text.show import display_text

_ANSWER = 18


class DebiasedAnswers(ModalScreen[None]):
    """Plain shares, those without the picture, and the one divided by the other."""

    DEFAULT_CSS = """
    DebiasedAnswers { align: center middle; background: $background 60%; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q,d,enter", "dismiss", show=False)]

    def __init__(self, found: DebiasReading, *, ascii_only: bool) -> None:
        super().__init__()
        self._found = found
        self._ascii = ascii_only
        self.set_class(ascii_only, "-ascii")

    def compose(self) -> ComposeResult:
        """A line an answer."""
        with Vertical(classes="dialog short-dialog") as box:
            box.border_title = "answers, debiased"
            box.border_subtitle = "q closes"
            yield Static(self._lines(), markup=False)

    def _lines(self) -> Content:
        head = f"{'':<{_ANSWER}}{'p':>6} {'share':>6} {'prior':>6} {'debiased':>9}"
        parts: list[tuple[str, str]] = [(head, "$faint")]
        best = max(self._found.answers, key=lambda answer: answer.after[-1], default=None)
        for answer in self._found.answers:
            style = "bold $answer" if answer is best else "$foreground"
            parts.append(("\n" + debiased_line(answer, ascii_only=self._ascii), style))
        parts.append(
            (
                "\n\np: all its spellings together (as typed, lower, Capital, with a space and "
                "without; the first token of each). share, prior: with the picture and without it, "
                "of 1 over the list. debiased: share / (prior + 0.0001), of 1.",
                "$faint",
            )
        )
        return Content.assemble(*parts)


def debiased_line(answer: DebiasedAnswer, *, ascii_only: bool) -> str:
    """Return an answer and its figures."""
    shown = display_text(answer.text, _ANSWER, spaces=False, ascii_only=ascii_only)
    line = (
        f"{shown}{figure(answer.probability[-1]):>6} {figure(answer.before[-1]):>6} "
        f"{figure(answer.prior[-1]):>6} {figure(answer.after[-1]):>9}"
    )
    if answer.shared_with:
        others = ", ".join(answer.shared_with)
        shared = display_text(others, spaces=False, ascii_only=ascii_only)
        line += f"  begins like {shared}"
    return line
