"""The list of image replacements, each a line that appears as its run arrives."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Final

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical

from engine.events import Event
from tui.sharing.against_table import (
    NAME_WIDTH,
    SAME_WIDTH,
    TOKEN_WIDTH,
    AgainstLine,
    against_rows,
    same_heading,
)
from tui.state.listing import Field
from tui.state.run_view import RunView
from tui.state.view_state import ViewState
from tui.text.numbers import FIGURE_WIDTH, figure, number
from tui.text.phrases import TERMS
from tui.text.show import display_text, plain_line
from tui.widgets.captions import put_title
from tui.widgets.explaining import Caption
from tui.widgets.find_line import FindLine
from tui.widgets.listed_rows import ListedRows, ListScreen
from tui.widgets.row_list import place_text
from tui.widgets.styles import Segments, Styles

_HEADING_AND_PICTURE: Final = 2
_FRAME: Final = 2
"""Lines of the box besides the list."""
_JS: Final = 7
_PARTS: Final = 8
_KEYS: Final = "o sorts, O turns, / filters, q closes; H lists the runs, b compares"


class AgainstRows(ListedRows):
    """Draws the picture and what stands in its place."""

    fields: ClassVar[Sequence[Field[Any]]] = (
        Field[AgainstLine]("instead", lambda line: line.name),
        Field[AgainstLine]("answer", lambda line: line.answer.text if line.answer else None),
        Field[AgainstLine]("p", lambda line: line.answer.probability if line.answer else None),
        Field[AgainstLine]("same", lambda line: line.same),
        Field[AgainstLine]("js", lambda line: line.js),
        Field[AgainstLine](
            "parts", lambda line: math.inf if line.parts_words == "never" else line.parts
        ),
    )

    def __init__(self, *, ascii_only: bool) -> None:
        super().__init__(ascii_only=ascii_only)
        self._lines: Sequence[AgainstLine] = ()

    def show(self, lines: Sequence[AgainstLine]) -> None:
        """Show what there is by now, the picture first."""
        self._lines = lines
        self.refresh_rows()

    @property
    def every(self) -> Sequence[AgainstLine]:
        """The picture and its replacements, as they were asked."""
        return self._lines

    def draw_head(self, line: int, width: int, styles: Styles) -> Segments:
        """Draw the column names."""
        same = same_heading(self._lines, ascii_only=self._ascii)
        columns = [
            ("", "", 1), ("instead", "instead", NAME_WIDTH), ("answer", "answer", TOKEN_WIDTH + 1),
            ("p", "p", -FIGURE_WIDTH), ("", "", 2), (same, "same", -SAME_WIDTH), ("", "", 2),
            ("JS", "js", _JS), ("parts at", "parts", _PARTS + 1),
        ]  # fmt: skip
        return self.head(columns, styles)

    def captions(self) -> Iterable[Caption]:
        """Return where the names of the columns are."""
        same = same_heading(self._lines, ascii_only=self._ascii)
        return [Caption(0, named={same: TERMS["answer"]})] if self.count else []

    def draw_row(self, row: int, width: int, styles: Styles) -> Segments:
        """Draw a line."""
        line: AgainstLine = self.items[row]
        named = display_text(line.name, NAME_WIDTH, spaces=False, ascii_only=self._ascii)
        if line.missing or line.answer is None:
            return [(named, styles.text), (line.missing, styles.faint)]
        token = display_text(line.answer.text, TOKEN_WIDTH, ascii_only=self._ascii)
        same = "-" if line.same is None else figure(line.same)
        js = number(line.js) if line.is_compared else ""
        return [
            (named, styles.text),
            (f"{token} ", styles.answer),
            (f"{figure(line.answer.probability)}  {same:>{SAME_WIDTH}}  ", styles.text),
            (f"{js:<{_JS}}{line.parts_words}", styles.text),
        ]


class AgainstList(ListScreen[None]):
    """Shows each counterfactual's answer, the probability of the picture's answer in it, and the
    row from which the two differ."""

    VIEW: ClassVar[str] = "against"
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q,A,enter", "dismiss", show=False)]
    CSS = """
    AgainstList .dialog { padding: 0; }
    AgainstList.-ascii .dialog { border: ascii $primary; }
    """

    def __init__(
        self, state: ViewState, picture: RunView, *, expected: int, ascii_only: bool
    ) -> None:
        """`expected` is the number of counterfactuals, including those still to come: the box
        has their lines from the start, so that it does not grow while they arrive."""
        super().__init__()
        self._expected = expected
        self._state = state
        self._picture = picture
        self._ascii = ascii_only
        self._rows = AgainstRows(ascii_only=ascii_only)
        self.set_class(ascii_only, "-ascii")

    @property
    def rows(self) -> AgainstRows:
        """The list."""
        return self._rows

    def compose(self) -> ComposeResult:
        """Lay out the list in a box whose lower border says which keys act."""
        with Vertical(classes="dialog wide-dialog") as box:
            box.border_subtitle = _KEYS
            yield self._rows
            yield FindLine()

    def on_mount(self) -> None:
        """Show what there is."""
        self._show()

    def on_resize(self) -> None:
        """Give the list its lines, as many as the screen has room for."""
        lines = max(_HEADING_AND_PICTURE + self._expected, 1 + len(self._rows.every))
        self._rows.styles.height = min(lines, self.size.height * 9 // 10 - _FRAME)

    def hear(self, events: Sequence[Event]) -> None:
        """Show what has arrived."""
        if self.is_mounted:
            self._show()

    def order_changed(self) -> None:
        """Say how the list is sorted and filtered."""
        rows = self._rows
        # Of a long name the end is cut.
        title = ["instead of the picture", place_text(rows), rows.order.words]
        shown = f"{', '.join(part for part in title if part)}: {self._picture.name}"
        put_title(self.query_one(Vertical), plain_line(shown, ascii_only=self._ascii))

    def on_row_list_place_changed(self) -> None:
        """Say which lines are visible."""
        self.order_changed()

    def _show(self) -> None:
        self._rows.show(self._lines())
        self.order_changed()

    def _lines(self) -> Sequence[AgainstLine]:
        others = self._state.counterfactuals_of(self._picture)
        runs = [self._picture.frozen(), *(other.frozen() for other in others)]
        comparisons = [
            known for known in self._state.comparisons.values() if known.of == self._picture.run.id
        ]
        return against_rows(runs, comparisons)
