"""A list of answers, with and without the picture, and debiased."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Static

from engine.events import Event, ReadingMade, Trouble
from engine.methods.debias import DebiasedAnswer, DebiasReading, DebiasRequest
from tui.state.listing import Field
from tui.state.run_view import RunView
from tui.text.numbers import figure
from tui.text.show import display_text, plain_line
from tui.widgets.captions import put_title
from tui.widgets.find_line import FindLine
from tui.widgets.listed_rows import ListedRows, ListScreen
from tui.widgets.row_list import place_text
from tui.widgets.styles import Segments, Styles
from tui.widgets.view_context import ViewContext

_ANSWER: Final = 18
_FIGURE: Final = 7
_DEBIASED: Final = 10
_MOST_LINES: Final = 16
_MEANING: Final = (
    "p: all its spellings together (as typed, lower, Capital, with a space and without; the first "
    "token of each). share, prior: with the picture and without it, of 1 over the list. debiased: "
    "share / (prior + 0.0001), of 1."
)


@dataclass(frozen=True)
class AnswerLine:
    """An answer of the list."""

    text: str
    """Untrusted."""
    figures: DebiasedAnswer | None = None
    """None before they are read."""


def _last(name: str) -> Callable[[AnswerLine], float | None]:
    """Return what reads a figure of the last row, None before it is read."""

    def read(line: AnswerLine) -> float | None:
        values: tuple[float, ...] = () if line.figures is None else getattr(line.figures, name)
        return values[-1] if values else None

    return read


class DebiasedRows(ListedRows):
    """Draws the answers; the best one by its debiased share is in the answer's colour."""

    fields: ClassVar[Sequence[Field[Any]]] = (
        Field[AnswerLine]("answer", lambda line: line.text),
        Field[AnswerLine]("p", _last("probability")),
        Field[AnswerLine]("share", _last("before")),
        Field[AnswerLine]("prior", _last("prior")),
        Field[AnswerLine]("debiased", _last("after")),
    )

    def __init__(self, answers: Sequence[str], *, ascii_only: bool) -> None:
        super().__init__(ascii_only=ascii_only)
        self._lines = [AnswerLine(text) for text in answers]
        self._best: DebiasedAnswer | None = None

    def show(self, answers: Sequence[DebiasedAnswer]) -> None:
        """Show the answers with their figures."""
        self._lines = [AnswerLine(answer.text, answer) for answer in answers]
        self._best = max(answers, key=lambda answer: answer.after[-1], default=None)
        self.refresh_rows()

    @property
    def every(self) -> Sequence[AnswerLine]:
        """The answers, as they were typed."""
        return self._lines

    def draw_head(self, line: int, width: int, styles: Styles) -> Segments:
        """Draw the column names."""
        columns = [
            ("", "", 1), ("answer", "answer", _ANSWER), ("p", "p", 1 - _FIGURE),
            ("share", "share", -_FIGURE), ("prior", "prior", -_FIGURE),
            ("debiased", "debiased", -_DEBIASED),
        ]  # fmt: skip
        return self.head(columns, styles)

    def draw_row(self, row: int, width: int, styles: Styles) -> Segments:
        """Draw an answer."""
        line: AnswerLine = self.items[row]
        named = display_text(line.text, _ANSWER, spaces=False, ascii_only=self._ascii)
        answer = line.figures
        if answer is None:
            return [(named, styles.faint), ("...", styles.faint)]
        style = styles.answer if answer is self._best else styles.text
        text = (
            f"{named}{figure(answer.probability[-1]):>{_FIGURE - 1}}"
            f"{figure(answer.before[-1]):>{_FIGURE}}{figure(answer.prior[-1]):>{_FIGURE}}"
            f"{figure(answer.after[-1]):>{_DEBIASED}}"
        )
        if answer.shared_with:
            others = ", ".join(answer.shared_with)
            text += f"  begins like {plain_line(others, ascii_only=self._ascii)}"
        return [(text, style)]


class DebiasedAnswers(ListScreen[None]):
    """Shows each answer's share, its prior without the picture, and the normalised quotient of
    the two."""

    VIEW: ClassVar[str] = "without"
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q,V,enter", "dismiss", show=False)]
    CSS = """
    DebiasedAnswers .dialog { padding: 0; }
    DebiasedAnswers.-ascii .dialog { border: ascii $primary; }
    DebiasedAnswers Static.words { width: 100%; height: auto; padding: 1 1 0 1; color: $faint; }
    """

    def __init__(self, run: RunView, request: DebiasRequest, context: ViewContext) -> None:
        """A reading that the run holds is shown at once; otherwise it is requested."""
        super().__init__()
        self._run = run
        self._request = request
        self._shared = context
        self._asker = context.asker
        self._ascii = context.ascii_only
        self._rows = DebiasedRows(request.answers, ascii_only=self._ascii)
        self.set_class(self._ascii, "-ascii")

    @property
    def rows(self) -> DebiasedRows:
        """The list."""
        return self._rows

    def compose(self) -> ComposeResult:
        """Lay out one line per answer; the figures are filled in when they arrive."""
        with Vertical(classes="dialog short-dialog") as box:
            box.border_subtitle = "o sorts, O turns, / filters, q closes"
            self._rows.styles.height = 1 + min(len(self._request.answers), _MOST_LINES)
            yield self._rows
            yield Static("reading the answers", classes="words", markup=False)
            yield FindLine()

    def on_mount(self) -> None:
        """Show the answers, or request them."""
        self._rows.refresh_rows()
        self.order_changed()
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

    def order_changed(self) -> None:
        """Say how the list is sorted and filtered."""
        title = ["answers, debiased", place_text(self._rows), self._rows.order.words]
        shown = ", ".join(part for part in title if part)
        put_title(self.query_one(Vertical), plain_line(shown, ascii_only=self._ascii))

    def on_row_list_place_changed(self) -> None:
        """Say which lines are visible."""
        self.order_changed()

    def _show(self, reading: DebiasReading) -> None:
        self._rows.show(reading.answers)
        self.query_one(".words", Static).update(Content(_MEANING))
        self.order_changed()

    def _say_why(self, words: str) -> None:
        self.query_one(".words", Static).update(Content.styled(words, "$error"))
