"""A run beside the same question asked with something else instead of the picture: the
divergence of their rows, and their contrast."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar, Final

from textual.binding import Binding, BindingType
from textual.widget import Widget

from engine.counterfactuals.defaults import CONTRAST_A, CONTRAST_B
from engine.events import Event, ReadingMade
from engine.methods.contrast import ContrastReading, ContrastRequest, ContrastRow
from engine.methods.debias import DebiasRequest
from engine.records import Comparison, Reading, Token
from tui.state.run_view import RunView
from tui.text.bars import probability_bar
from tui.text.numbers import FIGURE_WIDTH, figure
from tui.text.show import display_text
from tui.views.compare.debiased import DebiasedAnswers
from tui.views.compare.divergence_plot import DivergencePlot
from tui.views.compare.pair_table import PairScreen, PairTable
from tui.views.compare.verdicts import what_the_picture_adds, where_they_part
from tui.widgets.line_input import LineInput
from tui.widgets.styles import Segments, Styles
from tui.widgets.view_context import ViewContext

_APART_BAR: Final = 6
_APART: Final = 4 + 1 + _APART_BAR + 1
"""Cells of the divergence: figure, bar and blanks."""
_CONTRAST: Final = 20
_LN_2: Final = math.log(2)
"""The largest possible Jensen-Shannon divergence, in nats."""

References = Sequence[tuple[str, tuple[str, ...]]]


class WithoutTable(PairTable):
    """Shows the picture's run on the left, and the divergence and contrast beside the right run."""

    reserved_cells = _APART + _CONTRAST

    def __init__(
        self, picture: RunView, other: RunView, comparison: Comparison, *, ascii_only: bool
    ) -> None:
        super().__init__(picture, other, ascii_only=ascii_only)
        self._comparison = comparison
        self._js = {row.layer: row.js for row in comparison.rows}
        self._contrast: dict[int, ContrastRow] = {}

    def show_contrast(self, rows: Sequence[ContrastRow]) -> None:
        """Show contrast rows in a column of their own."""
        self._contrast = {row.layer: row for row in rows}
        self.forget_rows()

    @property
    def verdict(self) -> str:
        """Return from which row the picture counts."""
        if not self._comparison.rows:
            return where_they_part(self.rows.compared)
        answers = (side.answer for side in self.rows.sides)
        return what_the_picture_adds(self._comparison, *answers, ascii_only=self._ascii)

    @property
    def answers(self) -> Sequence[Token]:
        """Return the left run's answer, the only one that fits."""
        return self.rows.compared.answers[:1]

    def setting_words(self, side: int, name: str, value: str) -> str:
        """Return the words for a setting; an image replacement needs no name before it."""
        if name == "image replacement":
            return value if side else "with the picture"
        return super().setting_words(side, name, value)

    def draw_head(self, line: int, width: int, styles: Styles) -> Segments:
        """Draw the head, including the names of the additional columns."""
        segments = super().draw_head(line, width, styles)
        if line == self.head_height - 1:
            segments.append(("JS".ljust(_APART) + "contrast", styles.faint))
        return segments

    def draw_row(self, row: int, width: int, styles: Styles) -> Segments:
        """Draw one row of both runs, their divergence, and the first token of their contrast."""
        segments = super().draw_row(row, width, styles)
        js = self._js.get(row)
        if js is None:
            segments.append(("-".rjust(4).ljust(_APART), styles.faint))
        else:
            bar = probability_bar(js / _LN_2, _APART_BAR, ascii_only=self._ascii)
            segments += [(f"{js:.2f} ", styles.text), (f"{bar} ", styles.cursor)]
        reading = self._contrast.get(row)
        if reading is None or not reading.top:
            return [*segments, ("-", styles.faint)]
        token = reading.top[0]
        shown = display_text(token.text, _CONTRAST - FIGURE_WIDTH - 1, ascii_only=self._ascii)
        style = self.rows.token_style(token, styles)[0]
        return [*segments, (f"{shown} {figure(token.probability)}", style)]


class Without(PairScreen):
    """Shows both runs on the whole screen; contrasts and debiasing need no new pass."""

    VIEW: ClassVar[str] = "without"
    says_points = False  # its columns say what the picture adds
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("plus,=", "contrast(0.25, 1)", show=False),
        Binding("minus", "contrast(-0.25, 1)", show=False),
        Binding("right_square_bracket", "contrast(0, 2)", show=False),
        Binding("left_square_bracket", "contrast(0, 0.5)", show=False),
        Binding("r", "reference", show=False),
        Binding("P", "plot", show=False),
        Binding("d", "debias", show=False),
    ]

    def __init__(
        self,
        picture: RunView,
        other: RunView,
        comparison: Comparison,
        context: ViewContext,
        references: References = (),
    ) -> None:
        """`comparison` is that of the two runs; `references` maps names of references of the
        contrast to the ids of their runs."""
        ascii_only = context.ascii_only
        self._pair = WithoutTable(picture, other, comparison, ascii_only=ascii_only)
        self._plot = DivergencePlot(picture, other, comparison, ascii_only=ascii_only)
        self._picture = picture
        self._other = other
        self._shared = context
        self._asker = context.asker
        self._settings = (CONTRAST_A, CONTRAST_B)
        self._references = tuple(references)
        self._reference = 0
        super().__init__(self._pair, "two runs", ascii_only=ascii_only)

    def on_mount(self) -> None:
        """Show the contrast that the run holds, or request it."""
        self._ask_contrast()

    def below(self) -> Sequence[Widget]:
        """Return the plot, which is hidden until it is opened."""
        return (self._plot,)

    @property
    def keys(self) -> Sequence[str]:
        """Return the hints on which keys act, with the settings of the contrast."""
        a, b = self._settings
        name = self._references[self._reference][0] if self._references else ""
        return (
            f"contrast with {name} (r): + - a={a:g}, [ ] b={b:.2g}", "P plot", "d debiases",
            "enter detail", "p pictures", "y Y copy", "J K more tokens", "x exports", "q closes",
        )  # fmt: skip

    def hear(self, events: Sequence[Event]) -> None:
        """Show a contrast of these runs when it arrives, with the settings with which it was
        requested."""
        for event in events:
            if isinstance(event, ReadingMade) and event.run_id == self._picture.run.id:
                self._show(event.reading)

    def action_contrast(self, more: float, times: float) -> None:
        """Request the contrast with another a or b."""
        a, b = self._settings
        self._settings = (min(max(a + more, 0.0), 8.0), min(max(b * times, 0.003125), 1.0))
        self._ask_contrast()

    def action_reference(self) -> None:
        """Use the next reference for the contrast: one counterfactual, or both together."""
        if self._references:
            self._reference = (self._reference + 1) % len(self._references)
            self._ask_contrast()

    def action_plot(self) -> None:
        """Plot the answer's probability with the picture and without it, and the divergence."""
        self._plot.toggle()

    def action_debias(self) -> None:
        """Ask for the answers to debias."""
        self.app.push_screen(
            LineInput("answers, separated by commas", "", ascii_only=self._ascii),
            self._take_answers,
        )

    def _take_answers(self, answers: str | None) -> None:
        if answers:
            words = tuple(answer.strip() for answer in answers.split(","))
            request = DebiasRequest(words, (self._other.run.id,))
            self.app.push_screen(DebiasedAnswers(self._picture, request, self._shared))

    def _ask_contrast(self) -> None:
        if self._references:
            _, references = self._references[self._reference]
            request = ContrastRequest(references, *self._settings)
            known = self._picture.reading_of("contrast", request)
            if known is None and self._asker.read(self._picture, request) is None:
                # Nothing more can be read: whatever contrast was saved is better than none.
                known = self._picture.reading_of("contrast")
            if known is not None:
                self._show(known)

    def _show(self, reading: Reading) -> None:
        """Show a contrast of these runs and its settings."""
        ids = [references for _, references in self._references]
        if isinstance(reading, ContrastReading) and reading.references in ids:
            self._reference = ids.index(reading.references)
            self._settings = (reading.request.a, reading.request.b)
            self._pair.show_contrast(reading.rows)
            self.say_keys()
