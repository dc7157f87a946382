"""A run beside the same question asked with something else instead of the picture: the
divergence of their rows, and their contrast."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
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
from tui.views.compare.pair_blocks import Block
from tui.views.compare.pair_columns import Room
from tui.views.compare.pair_context import PairContext
from tui.views.compare.pair_screen import PairScreen
from tui.views.compare.pair_table import PairTable
from tui.views.compare.verdicts import what_the_picture_adds, where_they_part
from tui.widgets.line_input import LineInput
from tui.widgets.styles import Segments, Styles
from tui.widgets.view_context import ViewContext

_APART_BAR: Final = 6
_APART: Final = 4 + 1
"""Cells of the divergence without its bar: the figure and a blank."""
_CONTRAST: Final = 20
_NARROW_CONTRAST: Final = 15
_WIDE: Final = 90
"""Cells of a table from which the divergence has its bar, and the contrast all its cells."""
_LN_2: Final = math.log(2)
"""The largest possible Jensen-Shannon divergence, in nats."""

References = Sequence[tuple[str, tuple[str, ...]]]


class WithoutTable(PairTable):
    """Shows the picture's run on the left, and the divergence and contrast beside the right run."""

    def __init__(
        self, picture: RunView, other: RunView, comparison: Comparison, context: PairContext
    ) -> None:
        super().__init__(picture, other, context.look(), ascii_only=context.ascii_only)
        self._comparison = comparison
        self._js = {row.layer: row.js for row in comparison.rows}
        self._contrast: dict[int, ContrastRow] = {}

    def show_contrast(self, rows: Sequence[ContrastRow]) -> None:
        """Show contrast rows in a column of their own."""
        self._contrast = {row.layer: row for row in rows}
        self.renew()

    @property
    def verdict(self) -> str:
        """Return from which row the picture counts."""
        if not (self._comparison.rows and self._is_at_own_place):
            return where_they_part(self.rows.compared)
        answers = (side.answer for side in self.rows.sides)
        return what_the_picture_adds(self._comparison, *answers, ascii_only=self._ascii)

    @property
    def answers(self) -> Sequence[Token]:
        """Return the left run's answer, which is what the picture makes likely."""
        return self.rows.compared.answers[:1]

    def setting_words(self, side: int, name: str, value: str) -> str:
        """Return the words for a setting; an image replacement needs no name before it."""
        if name == "image replacement":
            return value if side else "with the picture"
        return super().setting_words(side, name, value)

    def blocks_of(self, width: int) -> list[Block]:
        """Return the difference of the answer, the divergence of the rows and their contrast."""
        of_answer = super().blocks_of(width)
        if not self._is_at_own_place:
            return of_answer
        return [*of_answer, self._apart(width), self._contrasted(width)]

    @property
    def _is_at_own_place(self) -> bool:
        """Whether the rows are those of the position for which the divergence is known."""
        return all(side.own is side for side in self.rows.sides)

    def _apart(self, width: int) -> Block:
        bar = _APART_BAR if width >= _WIDE else 0
        cells = _APART + (bar + 1 if bar else 0)

        def drawn(row: int, styles: Styles) -> Segments:
            js = self._js.get(row)
            if js is None:
                return [("-".rjust(4).ljust(cells), styles.faint)]
            share = probability_bar(js / _LN_2, bar, ascii_only=self._ascii) + " " if bar else ""
            return [(f"{js:.2f} ", styles.text), (share, styles.cursor)]

        head = "JS".ljust(cells)
        return Block("JS", Room(cells, True), lambda styles: [(head, styles.faint)], drawn)

    def _contrasted(self, width: int) -> Block:
        cells = _CONTRAST if width >= _WIDE else _NARROW_CONTRAST

        def drawn(row: int, styles: Styles) -> Segments:
            reading = self._contrast.get(row)
            if reading is None or not reading.top:
                return [("-".ljust(cells), styles.faint)]
            token = reading.top[0]
            shown = display_text(token.text, cells - FIGURE_WIDTH - 2, ascii_only=self._ascii)
            style = self.rows.token_style(token, styles)[0]
            return [(f"{shown} {figure(token.probability)} ", style)]

        head = "contrast".ljust(cells)
        return Block("contrast", Room(cells, True), lambda styles: [(head, styles.faint)], drawn)


class Without(PairScreen):
    """Shows both runs on the whole screen; contrasts and debiasing need no new pass."""

    VIEW: ClassVar[str] = "without"
    says_points = False  # its columns say what the picture adds
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f", "reference", show=False),
        Binding("V", "debias", show=False),
    ]

    def __init__(
        self,
        picture: RunView,
        other: RunView,
        comparison: Comparison,
        shared: ViewContext,
        context: PairContext,
        references: References = (),
    ) -> None:
        """`comparison` is that of the two runs; `references` maps names of references of the
        contrast to the ids of their runs."""
        self._pair = WithoutTable(picture, other, comparison, context)
        self._plot = DivergencePlot(picture, other, comparison, ascii_only=context.ascii_only)
        self._picture = picture
        self._other = other
        self._shared = shared
        self._asker = shared.asker
        self._settings = (CONTRAST_A, CONTRAST_B)
        self._references = tuple(references)
        self._reference = 0
        super().__init__(self._pair, context)

    def on_mount(self) -> None:
        """Show the contrast that the run holds, or request it."""
        self._ask_contrast()

    def below(self) -> Sequence[Widget]:
        """Return the plot, which is hidden until it is opened."""
        return (self._plot,)

    @property
    def keys(self) -> Sequence[str]:
        """Return the hints on which keys act, with the settings of the contrast."""
        (a, b), key = self._settings, self.key
        name = self._references[self._reference][0] if self._references else ""
        less, more = key("previous-picture"), key("next-picture")
        halve, double = key("previous-preset"), key("next-preset")
        return (
            f"contrast with {name} (f): {less} {more} a={a:g}, {halve} {double} b={b:.2g}",
            f"{key('plot')} plot", "V debiases", f"{key('zoom-detail')} detail",
            f"{key('track')} track", f"{key('find')} find", f"{key('columns')} columns",
            f"{key('picture')} pictures", f"{key('copy-row')} {key('copy-table')} copy",
            f"{key('export')} exports", f"{key('leave')} closes",
        )  # fmt: skip

    def performers(self) -> Mapping[str, Callable[[], object]]:
        """See `PairScreen`; keys that would lead to another picture or prompt set the contrast."""
        return {
            **super().performers(),
            "next-picture": partial(self._set_contrast, 0.25, 1),
            "previous-picture": partial(self._set_contrast, -0.25, 1),
            "next-preset": partial(self._set_contrast, 0, 2),
            "previous-preset": partial(self._set_contrast, 0, 0.5),
        }

    def hear(self, events: Sequence[Event]) -> None:
        """Show a contrast of these runs when it arrives, with the settings with which it was
        requested."""
        super().hear(events)
        for event in events:
            if isinstance(event, ReadingMade) and event.run_id == self._picture.run.id:
                self._show_contrast(event.reading)

    def _set_contrast(self, more: float, times: float) -> None:
        """Request the contrast with another a or b."""
        a, b = self._settings
        self._settings = (min(max(a + more, 0.0), 8.0), min(max(b * times, 0.003125), 1.0))
        self._ask_contrast()

    def action_reference(self) -> None:
        """Use the next reference for the contrast: one counterfactual, or both together."""
        if self._references:
            self._reference = (self._reference + 1) % len(self._references)
            self._ask_contrast()

    def plot(self) -> None:
        """Plot the answer's probability with the picture and without it, and the divergence."""
        self._plot.toggle()

    def plot_measure(self) -> None:
        """See `PairScreen`."""
        self._open_plot("this plot has one measure: probabilities, beside the divergence")

    def plot_token(self) -> None:
        """See `PairScreen`."""
        self._open_plot("this plot has one token: the answer with the picture")

    def _open_plot(self, otherwise: str) -> None:
        """Open the plot; where it is open, say why there is nothing else to do."""
        if self._plot.has_class("-open"):
            self.tell(otherwise)
        else:
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
                self._show_contrast(known)

    def _show_contrast(self, reading: Reading) -> None:
        """Show a contrast of these runs and its settings."""
        ids = [references for _, references in self._references]
        if isinstance(reading, ContrastReading) and reading.references in ids:
            self._reference = ids.index(reading.references)
            self._settings = (reading.request.a, reading.request.b)
            self._pair.show_contrast(reading.rows)
            self.say_keys()
