"""The base of views of two runs: a table of both, and a screen around it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.message import Message
from textual.screen import ModalScreen
from textual.widget import Widget

from engine.records import Token
from engine.tables import Table
from tui.sharing.pair_table import pair_table
from tui.state.comparing import AlignedRow, differences
from tui.state.run_view import RunView
from tui.text.numbers import figure
from tui.text.phrases import TERMS
from tui.text.show import display_text, plain_line
from tui.views.compare.pair_columns import PairColumns, plan_pair, signed_figure
from tui.views.compare.pair_detail import PairDetail
from tui.views.compare.pair_pictures import PairPictures
from tui.views.compare.pair_rows import PairRows
from tui.views.compare.verdicts import how_matched
from tui.widgets.captions import put_subtitle, put_title
from tui.widgets.explaining import Caption, Kind
from tui.widgets.later import draw_later
from tui.widgets.legend import fitted_keys
from tui.widgets.row_list import RowList, place_text
from tui.widgets.styles import GUTTER, Segments, Styles

_CORNERS = 4
"""Cells of a line in the border that are not its text."""


class PairTable(RowList):
    """Shows two runs' tokens in the same rows; subclasses supply the verdict and additional
    columns."""

    class Moved(Message):
        """The cursor has moved to another row."""

    reserved_cells: ClassVar[int] = 0
    """Cells of a row that are reserved for the subclass."""

    def __init__(self, left: RunView, right: RunView, *, ascii_only: bool) -> None:
        super().__init__(ascii_only=ascii_only)
        self.rows = PairRows(left, right, ascii_only=ascii_only)

    def put_cursor(self, row: int) -> None:
        """Move the cursor, and post `Moved`."""
        before = self.cursor
        super().put_cursor(row)
        if self.cursor != before:
            self.post_message(self.Moved())

    @property
    @abstractmethod
    def verdict(self) -> str:
        """Return the result of the comparison in words."""

    @property
    @abstractmethod
    def answers(self) -> Sequence[Token]:
        """Return the tokens whose changes have a column."""

    def setting_words(self, side: int, name: str, value: str) -> str:
        """Return the words for a setting in which the questions differ."""
        return value if name == "prompt" else f"{name} {value}"

    @property
    def count(self) -> int:
        """Return the number of rows of the deeper run."""
        return len(self.rows.compared.rows)

    @property
    def head_height(self) -> int:
        """Return the lines of the head: two runs, the verdict, how they are matched (or a blank
        line), the column names."""
        return 5

    @property
    def matching(self) -> str:
        """Return how rows and tokens are matched where the models differ; else nothing."""
        left, right = self.rows.sides
        return how_matched(self.rows.compared, (left.run.layers, right.run.layers))

    def draw_head(self, line: int, width: int, styles: Styles) -> Segments:
        """Draw the compared runs, the verdict and the column names."""
        if line < 2:
            return self.rows.run_line(line, self._said(line), width, styles)
        if line == 4:
            return self.rows.heading(self._plan(width - 1), self.answers, styles)
        words, style = (self.verdict, styles.text) if line == 2 else (self.matching, styles.faint)
        return [(" " + display_text(words, width - 1, spaces=False, ascii_only=self._ascii), style)]

    def captions(self) -> Iterable[Caption]:
        """Return the sentences of the head, the names of the columns, and the marks between the
        two runs."""
        last = self.head_height - 1
        yield from (Caption(line, kind=Kind.WORDS) for line in range(last))
        yield Caption(last, otherwise=TERMS["points, part, for good"])
        plan = self._plan(self.size.width - GUTTER)
        start = GUTTER + plan.layer + plan.side
        for line in range(self.head_height, self.size.height):
            yield Caption(line, start, start + plan.mark, kind=Kind.MARKS, marks="pairs")

    def draw_row(self, row: int, width: int, styles: Styles) -> Segments:
        """Draw one row of both runs."""
        return self.rows.row(row, self._plan(width), self.answers, styles)

    def _said(self, side: int) -> list[str]:
        sides = self.rows.sides
        named = [sides[side].name] if sides[side].run.title else []
        return named + [
            self.setting_words(side, name, values[side])
            for name, *values in differences(*(view.run.question for view in sides))
        ]

    def _plan(self, width: int) -> PairColumns:
        return plan_pair(
            width - self.reserved_cells, len(self.answers), self.rows.compared.by_depth
        )


class PairScreen(ModalScreen[None]):
    """Shows two runs on the whole screen; the lower border says which keys act."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,b,B", "dismiss", show=False),
        Binding("enter", "detail", show=False),
        Binding("J", "scroll_detail(0.5)", show=False),
        Binding("K", "scroll_detail(-0.5)", show=False),
        Binding("p", "pictures", show=False),
        Binding("y", "share('copy-row')", show=False),
        Binding("Y", "share('copy-table')", show=False),
        Binding("x", "share('export')", show=False),
    ]
    SCOPED_CSS = False  # subclasses are meant, too
    says_points: ClassVar[bool] = True
    """Whether the upper border says of the row under the cursor what the answers' differences
    are."""
    CSS = """
    PairScreen { background: $background; }
    PairScreen .dialog {
        width: 100%; max-width: 100%; height: 100%; max-height: 100%; padding: 0;
    }
    PairScreen.-ascii .dialog { border: ascii $primary; }
    """

    def __init__(self, table: PairTable, title: str, *, ascii_only: bool) -> None:
        super().__init__()
        self._table = table
        self._title = title
        self._ascii = ascii_only
        self._detail = PairDetail(ascii_only=ascii_only)
        self._pictures = PairPictures(ascii_only=ascii_only)
        self.set_class(ascii_only, "-ascii")

    @property
    @abstractmethod
    def keys(self) -> Sequence[str]:
        """Return the hints on which keys act, the most useful first; as many as fit are shown, and
        the last two always."""

    def below(self) -> Sequence[Widget]:
        """Return the widgets below the table."""
        return ()

    def compose(self) -> ComposeResult:
        """Lay out the table in a box."""
        with Vertical(classes="dialog") as box:
            put_title(box, self._title)
            yield self._table
            yield self._detail
            yield self._pictures
            yield from self.below()

    @property
    def table(self) -> Table:
        """The comparison as a table, for copying and exporting."""
        rows = self._table.rows
        left, right = (_asked(view) for view in rows.sides)
        return pair_table(rows.compared, (left, right))

    @property
    def table_row(self) -> int:
        """The row under the cursor."""
        return self._table.cursor

    def action_share(self, identity: str) -> None:
        """Copy or export the comparison."""
        app: Any = self.app
        app.do(identity)

    def tell(self, words: str) -> None:
        """Say below the table what came of it."""
        put_subtitle(self._box, plain_line(words, ascii_only=self._ascii))

    def action_detail(self) -> None:
        """Show or hide the detail of both sides."""
        self._detail.toggle()
        self._follow()

    def action_scroll_detail(self, pages: float) -> None:
        """Scroll through the tokens in the detail."""
        self._detail.scroll_tokens(pages)

    def on_resize(self) -> None:
        """Name as many keys as fit."""
        self.say_keys()

    def action_pictures(self) -> None:
        """Show or hide both pictures."""
        self._pictures.show(self._table.rows.sides)
        self._pictures.toggle()

    def on_pair_table_moved(self) -> None:
        """Show the detail of the row under the cursor, and what it says of the answers."""
        self._follow()

    def _follow(self) -> None:
        rows = self._table.rows
        compared, row = rows.compared, self._table.cursor
        pair = compared.rows[row] if row < len(compared.rows) else None
        self._detail.show(rows.sides, pair)
        self._say_title()

    def on_mount(self) -> None:
        """Put the cursor on the first row in which the runs differ."""
        draw_later(self, self._begin)

    def on_row_list_place_changed(self) -> None:
        """Show in the title which rows are visible."""
        self._say_title()

    def _say_title(self) -> None:
        """Say which rows are visible, and what that under the cursor says of the answers."""
        place, row = place_text(self._table), self._table.cursor
        parts = [self._title, f"rows {place}" if place else ""]
        if self.says_points:
            compared = self._table.rows.compared
            pair = compared.rows[row] if row < len(compared.rows) else None
            parts.append(_in_points(pair, self._table.answers, self._ascii))
        put_title(self._box, ", ".join(part for part in parts if part))

    def say_keys(self) -> None:
        """Show which keys act now."""
        keys = fitted_keys(self.keys, self.app.size.width - _CORNERS)
        put_subtitle(self._box, plain_line(keys, ascii_only=self._ascii))

    @property
    def _box(self) -> Vertical:
        return self.query_one(Vertical)

    def _begin(self) -> None:
        self._table.put_cursor(self._table.rows.compared.parts or 0)


def _in_points(pair: AlignedRow | None, answers: Sequence[Token], ascii_only: bool) -> str:
    """Return what a row says of the answers: both probabilities, and the difference."""
    if pair is None:
        return ""
    parts = []
    for answer, change in zip(answers, pair.changes, strict=False):
        if change.left is None or change.right is None or change.difference is None:
            continue
        shown = display_text(answer.text, 12, ascii_only=ascii_only).rstrip()
        left, right = (figure(share).strip() for share in (change.left, change.right))
        points = signed_figure(change.difference).strip()
        parts.append(f"{shown} {left} and {right}, {points} points")
    return f"row {pair.left_layer}: {'; '.join(parts)}" if parts else ""


def _asked(view: RunView) -> str:
    picture = view.run.question.picture
    return f"{view.name}, {picture.path}" if picture is not None else view.name
