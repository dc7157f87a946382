"""A list of answers, with and without the picture, and debiased."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from engine.events import Event, ReadingMade, Trouble
from engine.methods.debias import DebiasedAnswer, DebiasReading, DebiasRequest
from tui.state.run_view import RunView
from tui.text.numbers import figure
from tui.text.show import display_text
from tui.widgets.view_context import ViewContext

_ANSWER = 18


class DebiasedAnswers(ModalScreen[None]):
    """Shows each answer's share, its prior without the picture, and the normalised quotient of
    the two."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q,V,enter", "dismiss", show=False)]

    def __init__(self, run: RunView, request: DebiasRequest, context: ViewContext) -> None:
        """A reading that the run holds is shown at once; otherwise it is requested."""
        super().__init__()
        self._run = run
        self._request = request
        self._shared = context
        self._asker = context.asker
        self._ascii = context.ascii_only
        self.set_class(self._ascii, "-ascii")

    def compose(self) -> ComposeResult:
        """Lay out one line per answer; the figures are filled in when they arrive."""
        with Vertical(classes="dialog short-dialog") as box:
            box.border_title = "answers, debiased"
            box.border_subtitle = "q closes"
            yield Static(self._lines(()), markup=False)

    def on_mount(self) -> None:
        """Show the answers, or request them."""
        known = self._run.reading_of("debias", self._request)
        if isinstance(known, DebiasReading):
            self._show(known)
        elif self._asker.read(self._run, self._request) is None:
            self._say_why(self._asker.why_not(self._run))

    def hear(self, events: Sequence[Event]) -> None:
        """Show the answers when they arrive, or why they cannot be read."""
        for event in events:
            match event:
                case ReadingMade(reading=DebiasReading() as reading):
                    if event.run_id == self._run.run.id and reading.request == self._request:
                        self._show(reading)
                case Trouble(run_id=self._run.run.id):
                    self._say_why(self._shared.said(event))

    def _show(self, reading: DebiasReading) -> None:
        self.query_one(Static).update(self._lines(reading.answers))

    def _say_why(self, words: str) -> None:
        self.query_one(Static).update(Content.styled(words, "$error"))

    def _lines(self, answers: Sequence[DebiasedAnswer]) -> Content:
        head = "reading the answers"
        if answers:
            head = f"{'':<{_ANSWER}}{'p':>6} {'share':>6} {'prior':>6} {'debiased':>9}"
        parts: list[tuple[str, str]] = [(head, "$faint")]
        best = max(answers, key=lambda answer: answer.after[-1], default=None)
        if not answers:
            parts += [
                ("\n" + _named(text, ascii_only=self._ascii) + " ...", "$faint")
                for text in self._request.answers
            ]
        for answer in answers:
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


def _named(text: str, *, ascii_only: bool) -> str:
    return display_text(text, _ANSWER, spaces=False, ascii_only=ascii_only)


def debiased_line(answer: DebiasedAnswer, *, ascii_only: bool) -> str:
    """Return a line with an answer and its figures."""
    name = _named(answer.text, ascii_only=ascii_only)
    line = (
        f"{name}{figure(answer.probability[-1]):>6} {figure(answer.before[-1]):>6} "
        f"{figure(answer.prior[-1]):>6} {figure(answer.after[-1]):>9}"
    )
    if answer.shared_with:
        others = ", ".join(answer.shared_with)
        shared = display_text(others, spaces=False, ascii_only=ascii_only)
        line += f"  begins like {shared}"
    return line
