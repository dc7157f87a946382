"""A view in the lower slot that requests a method's reading and shows it as tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from engine.events import Event, ReadingDropped, Trouble
from engine.methods.registry import method_of, tables_of
from engine.records import Reading, Request
from engine.tables import Table
from tui.sharing.renderers.plain import plain_lines
from tui.state.run_view import RunView
from tui.text.glossary import Term
from tui.text.numbers import number
from tui.text.show import display_text
from tui.widgets.captions import put_subtitle
from tui.widgets.explaining import Caption
from tui.widgets.row_list import RowList, place_text
from tui.widgets.styles import Segments, Styles
from tui.widgets.view_context import ViewContext

_Line = tuple[str, tuple[Table, int] | None]
"""A line's text and the row of a table that it shows; None for headings and notes."""


class ReadingView(RowList):
    """Shows a method's reading of the shown run, with all its tables one below the other.

    A subclass overrides `request` to ask for something other than the method's defaults, and
    `draw_row` to show more than tables.
    """

    def __init__(self, context: ViewContext, method: str) -> None:
        super().__init__(ascii_only=context.ascii_only)
        self._shared = context
        self._asker = context.asker
        self.method = method_of(method)
        self.reading: Reading | None = None
        """The shown reading; None until it has arrived."""
        self._run: RunView | None = None
        self._asked: tuple[str, Request] | None = None
        self._asked_id = ""
        self._refused = ""
        self._run_ids: frozenset[str] = frozenset()
        self._words = ""
        self._heads: list[str] = []
        self._lines: list[_Line] = []

    def request(self, run: RunView) -> Request:
        """Return the request for a run."""
        made: Request = self.method.request()
        return made

    def show(self, run: RunView | None, row: int) -> None:
        """Show the reading of this run, and request it if the run has none."""
        self._run = run
        reading, words = None, "nothing read yet"
        if run is not None:
            request = self.request(run)
            reading = run.reading_of(self.method.name, request)
            if reading is None:
                words = self._ask(run, request)
        run_ids = self._asker.run_ids
        if (reading, words, run_ids) != (self.reading, self._words, self._run_ids):
            self.reading, self._words, self._run_ids = reading, words, run_ids
            self._take_lines()

    def on_hide(self) -> None:
        """Cancel the request, since the reading is no longer visible."""
        self._drop()

    def hear(self, events: Sequence[Event]) -> None:
        """Show why no reading arrived; request a dropped one again."""
        for event in events:
            if isinstance(event, ReadingDropped) and event.request_id == self._asked_id:
                self._asked = None
            if isinstance(event, Trouble) and event.request_id == self._asked_id:
                self._refused = self._shared.said(event)

    @property
    def row(self) -> tuple[Table, int] | None:
        """The table and row under the cursor; None for headings and notes."""
        return self.line_row(self.cursor)

    def line_row(self, line: int) -> tuple[Table, int] | None:
        """Return the table and row that a line shows; None for headings and notes."""
        return self._lines[line][1] if line < len(self._lines) else None

    @property
    def count(self) -> int:
        """Return the number of lines below the first heading."""
        return len(self._lines)

    @property
    def head_height(self) -> int:
        """Return how many lines the title and the column names take."""
        return len(self._heads) or 1

    def captions(self) -> Iterable[Caption]:
        """Return the title and the names of the columns, which stand for what the method's reading
        is."""
        if not self._heads:
            return []
        what = Term(self.method.title, f"{self.method.title}: what this method has found.")
        return [Caption(line, otherwise=what) for line in range(len(self._heads))]

    def draw_head(self, line: int, width: int, styles: Styles) -> Segments:
        """Draw the title or the names of the columns."""
        words = self._heads[line] if self._heads else self._words
        return [(" " + display_text(words, spaces=False, ascii_only=self._ascii), styles.faint)]

    def draw_row(self, row: int, width: int, styles: Styles) -> Segments:
        """Draw a row of a table, struck out if the reading failed its proof."""
        text, shown = self._lines[row]
        style = styles.faint if shown is None else styles.struck if self.failed else styles.text
        return [(text, style)]

    def place_changed(self) -> None:
        """Show the reading's proof and which rows are visible."""
        put_subtitle(self, "  ".join(word for word in (self._proof, place_text(self)) if word))

    def _ask(self, run: RunView, request: Request) -> str:
        """Request a reading once; return the message to show meanwhile."""
        wish = (run.run.id, request)
        if self._asked != wish:
            self._drop()
            asked = self._asker.read(run, request)
            if asked is None:
                return self._asker.why_not(run, request)
            self._asked, self._asked_id, self._refused = wish, asked, ""
        return self._refused or "reading"

    def _drop(self) -> None:
        """Cancel a request that has not been answered."""
        if self._asked is not None and self.reading is None and not self._refused:
            self._asker.cancel_reading(self._asked_id)
        self._asked = None

    @property
    def failed(self) -> bool:
        """Whether the reading failed its proof, so that none of it can be trusted."""
        proof = self.reading.proof if self.reading is not None else None
        return proof is not None and not proof.passed

    @property
    def _proof(self) -> str:
        proof = self.reading.proof if self.reading is not None else None
        if proof is None:
            return self.reading.reason if self.reading is not None else ""
        words = "proof" if proof.passed else "proof failed, do not believe this:"
        return f"{words} {number(proof.error)}"

    def _take_lines(self) -> None:
        self._heads, self._lines = [], []
        for table in () if self.reading is None else tables_of(self.reading, self._run_ids):
            lines = plain_lines(table, ascii_only=self._ascii)
            heads = lines[: 2 if table.title else 1]
            if self._heads:
                self._lines += [("", None), *((line, None) for line in heads)]
            else:
                self._heads = heads
            self._lines += [
                (line, (table, row) if row < len(table.rows) else None)
                for row, line in enumerate(lines[len(heads) :])
            ]
        self.forget_rows()
        self.refresh_rows()
        self.place_changed()
