"""The base of tables of two runs."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.cells import cell_len
from textual.binding import BindingType
from textual.message import Message

from engine.records import Token
from tui.state.comparing import AlignedRow, differences
from tui.state.finding import PairFound, found_in_both
from tui.state.folding import Fold, last_folded, shown_pairs
from tui.state.pair_figures import TRACKED, figure_names
from tui.state.run_view import RunView
from tui.state.table_look import TableLook
from tui.text.phrases import TERMS
from tui.text.show import display_text
from tui.views.compare.pair_blocks import Block, change_block, figure_block, tracked_block
from tui.views.compare.pair_columns import (
    NOT_SCROLLED,
    PairColumns,
    Scrolled,
    bar_of_change,
    plan_pair,
)
from tui.views.compare.pair_rows import PairRows
from tui.views.compare.verdicts import how_matched
from tui.widgets.explaining import Caption, Kind
from tui.widgets.folded_list import FoldedList
from tui.widgets.places import title_words
from tui.widgets.styles import GUTTER, Segments, Styles


@dataclass(frozen=True)
class _Layout:
    """The columns at a width."""

    width: int
    columns: PairColumns
    blocks: list[Block]
    """All columns beside the tokens, whether they fit or not."""

    @property
    def shown(self) -> Sequence[Block]:
        """Those that fit."""
        return self.blocks[self.columns.blocks.start : self.columns.blocks.stop]

    def hidden(self, keys: tuple[str, str], *, ascii_only: bool) -> str:
        """Return those that do not fit, with the keys that scroll to them; empty where all do."""
        before = self.blocks[: self.columns.blocks.start]
        after = self.blocks[self.columns.blocks.stop :]
        parts = []
        for key, blocks in zip(keys, (before, after), strict=True):
            names = [display_text(block.name, 9, ascii_only=ascii_only) for block in blocks]
            if names:
                few = ", ".join(name.rstrip() for name in names)
                parts.append(f"{key}: {few if len(names) < 3 else f'{len(names)} columns'}")
        return "  ".join(parts)


class PairTable(FoldedList, inherit_bindings=False):
    """Shows two runs' tokens in the same rows, as the look of the table says; subclasses supply the
    verdict and additional columns."""

    BINDINGS: ClassVar[list[BindingType]] = []

    class Moved(Message):
        """The cursor has moved to another row."""

    def __init__(
        self, left: RunView, right: RunView, look: TableLook | None = None, *, ascii_only: bool
    ) -> None:
        super().__init__(ascii_only=ascii_only)
        self.look = look or TableLook()
        """The user's choices about tables."""
        self.scroll_keys = ("h", "l")
        """The user's keys that scroll the columns."""
        self._scrolled = NOT_SCROLLED
        self._layout: _Layout | None = None
        self._ends: dict[int, int] = {}
        """Row -> the last of those that are folded into it."""
        self.rows = self._rows_of(left, right)
        self._fold()

    def show(self, left: RunView, right: RunView, look: TableLook) -> None:
        """Show the current state of two runs; call again after every change."""
        self.look, before = look, self._unfolded
        self.rows = self._rows_of(left, right)
        self._fold()
        self.renew()
        if self._unfolded != before:
            self.forget_rows()  # a row that has only moved looks the same to `refresh_rows`

    def renew(self) -> None:
        """Draw what has changed, with the columns that there are now."""
        self._layout = None
        super().put_cursor(self.row_on(self.line_of(self.cursor)))
        self.refresh_rows()
        self.place_changed()

    def put_cursor(self, row: int) -> None:
        """Move the cursor to a row, or to the one into which it is folded, and post `Moved`."""
        before = self.cursor
        super().put_cursor(self.row_on(self.line_of(row)))
        if self.cursor != before:
            self.post_message(self.Moved())

    @property
    @abstractmethod
    def verdict(self) -> str:
        """Return the result of the comparison in words."""

    def blocks_of(self, width: int) -> list[Block]:
        """Return the columns beside the tokens of a table of `width` cells, in order; what is
        tracked and the optional columns come after them."""
        bar = bar_of_change(width)
        return [change_block(self.rows, index, bar) for index, _ in enumerate(self.answers)]

    @property
    def answers(self) -> Sequence[Token]:
        """Both answers, or the one that the runs share."""
        return self.rows.compared.answers

    def setting_words(self, side: int, name: str, value: str) -> str:
        """Return the words for a setting in which the questions differ."""
        return value if name == "prompt" else f"{name} {value}"

    @property
    def count(self) -> int:
        """Return the number of rows of the deeper run."""
        return len(self.rows.compared.rows)

    @property
    def pair(self) -> AlignedRow | None:
        """The row under the cursor."""
        rows = self.rows.compared.rows
        return rows[self.cursor] if self.cursor < len(rows) else None

    @property
    def head_height(self) -> int:
        """Return the lines of the head: two runs, the verdict, how they are matched (or a blank
        line), the column names."""
        return 5

    @property
    def matching(self) -> str:
        """Return how rows and tokens are matched where the models differ, and at which positions;
        else nothing."""
        left, right = self.rows.sides
        words = how_matched(self.rows.compared, (left.run.layers, right.run.layers))
        at = [title_words(side, side.run.position) for side in (left, right)]
        where = at[0] if at[0] == at[1] else " and ".join(one or "at its own" for one in at)
        return "; ".join(part for part in (where, words) if part)

    def found(self, wanted: str) -> list[PairFound]:
        """Return the rows in which either side has a token that is searched for."""
        return found_in_both(self.rows.sides, self.rows.compared, wanted) if wanted else []

    def draw_head(self, line: int, width: int, styles: Styles) -> Segments:
        """Draw the compared runs, the verdict and the column names."""
        if line < 2:
            return self.rows.run_line(line, self._said(line), width, styles)
        laid = self._laid_out(width - GUTTER)
        if line == 4:
            segments = self.rows.heading(laid.columns, styles)
            for block in laid.shown:
                segments += block.heading(styles)
            return segments
        if line == 2:
            words, hidden, style = (
                self.verdict,
                laid.hidden(self.scroll_keys, ascii_only=self._ascii),
                styles.text,
            )
        else:
            words, hidden, style = self.matching, "", styles.faint
        room = width - 1 - (cell_len(hidden) + 2 if hidden else 0)
        shown = display_text(words, room, spaces=False, ascii_only=self._ascii)
        return [(" " + shown, style), (f"  {hidden}" if hidden else "", styles.cursor)]

    def captions(self) -> Iterable[Caption]:
        """Return the sentences of the head, the names of the columns, and the marks between the
        two runs."""
        last = self.head_height - 1
        yield from (Caption(line, kind=Kind.WORDS) for line in range(last))
        laid = self._laid_out(self.size.width - GUTTER)
        named = {block.tracked: TERMS["tracked token"] for block in laid.shown if block.tracked}
        yield Caption(last, named=named, otherwise=TERMS["points, part, for good"])
        plan = laid.columns
        start = GUTTER + plan.layer + plan.side
        for line in range(self.head_height, self.size.height):
            yield Caption(line, start, start + plan.mark, kind=Kind.MARKS, marks="pairs")

    def draw_row(self, row: int, width: int, styles: Styles) -> Segments:
        """Draw one row of both runs."""
        laid = self._laid_out(width)
        segments = self.rows.row(row, laid.columns, styles, until=self._ends.get(row))
        for block in laid.shown:
            segments += block.cells(row, styles)
        return segments

    @property
    def columns(self) -> PairColumns:
        """The columns at the current width."""
        return self._laid_out(self.size.width - GUTTER).columns

    def _laid_out(self, width: int) -> _Layout:
        if self._layout is None or self._layout.width != width:
            figures = figure_names(self.look.figures)
            compared, ranks = self.rows.compared, TRACKED in self.look.figures
            tracked = range(len(compared.answers), len(compared.tokens))
            blocks = self.blocks_of(width)
            blocks += [tracked_block(self.rows, index, ranks=ranks) for index in tracked]
            blocks += [figure_block(self.rows, name) for name in figures]
            wide = compared.by_depth or self._unfolded is not None
            rooms = [block.room for block in blocks]
            plan = plan_pair(width, rooms, wide, self.look.top_k, self._scrolled)
            self._layout = _Layout(width, plan, blocks)
        return self._layout

    def scroll_columns(self, step: int) -> bool:
        """Scroll to later or earlier columns: those beside the tokens, then the tokens; return
        whether that was possible."""
        laid = self._laid_out(self.size.width - GUTTER)
        had = laid.columns
        of_blocks = had.blocks.stop < len(laid.blocks) if step > 0 else not had.first
        self._scrolled = Scrolled(
            tokens=had.first + step * (not of_blocks), blocks=had.blocks.start + step * of_blocks
        )
        self._layout = None
        now = self.columns
        if (now.blocks, now.first) == (had.blocks, had.first):
            return False
        self.forget_rows()
        return True

    def _rows_of(self, left: RunView, right: RunView) -> PairRows:
        return PairRows(left, right, find=self.look.find, ascii_only=self._ascii)

    def _fold(self) -> None:
        rows = self.rows
        look = self.look
        if look.fold is Fold.NONE or any(side.refused for side in rows.sides):
            self._unfolded, self._ends = None, {}
            return
        kept = [found.row for found in self.found(look.find)]
        self._unfolded = shown_pairs(
            rows.sides, rows.compared, kept, tokens=look.fold.tokens(look.top_k)
        )
        self._ends = last_folded(self._unfolded)

    def _said(self, side: int) -> list[str]:
        sides = self.rows.sides
        named = [sides[side].name] if sides[side].run.title else []
        return named + [
            self.setting_words(side, name, values[side])
            for name, *values in differences(*(view.run.question for view in sides))
        ]
