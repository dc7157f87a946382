"""The table of layers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import ClassVar, Self

from textual.binding import BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from engine.tables import Place
from tui.actions.keymap import table_bindings
from tui.state.columns import FIGURE_COLUMNS
from tui.state.finding import found_in, matches
from tui.state.folding import Fold, last_folded, shown_rows
from tui.state.run_view import RunView
from tui.state.table_look import TableLook
from tui.text.glossary import Term
from tui.text.phrases import TERMS
from tui.text.show import display_text
from tui.views.table.table_rows import (
    MARKS,
    Columns,
    Followed,
    RowFacts,
    header_segments,
    plan_columns,
    row_segments,
    visible_facts,
)
from tui.widgets.captions import put_subtitle, put_title
from tui.widgets.explaining import Caption, Kind
from tui.widgets.folded_list import FoldedList
from tui.widgets.notes_line import notes_line
from tui.widgets.styles import GUTTER, Segments, Styles

CHANGED = "?"
"""The mark in the gutter of rows whose question has been changed since."""

_EMPTY = (
    "",
    "  What the model would say after every layer appears here, row by row.",
    "",
    "  r    run the question           a    run all presets on this picture",
    "  e    edit the prompt            [ ]  step through the preset prompts",
    "  o    open a picture or a session",
    "  M    choose another model",
    "  ?    help, with every key",
)


class LensTable(FoldedList, inherit_bindings=False):
    """Draws the rows of a run; only rows that look different are drawn again."""

    BINDINGS: ClassVar[list[BindingType]] = [*table_bindings()]

    @dataclass
    class CursorMoved(Message):
        """The cursor has moved to another row."""

        row: int

    def __init__(self, *, ascii_only: bool) -> None:
        super().__init__(ascii_only=ascii_only)
        self.id = "table"
        self.touched = False
        """Whether the user has moved the cursor; until then the app may move it."""
        self._only_edge = False
        self._placed = Size(0, 0)
        """The size for which it was said last which rows are visible."""
        self._notes: tuple[str, ...] = ()
        self._chosen = TableLook()
        self._first_column = 0
        self._followed: Followed | None = None
        self._answer_name = "answer"
        self._facts: list[RowFacts] = []
        self._named: int | None = None
        """The row under the cursor, where the user has gone to it by its number, or by what it
        holds, and it would be folded otherwise."""
        self._shows: tuple[str, int] | None = None
        self._columns: Columns | None = None

    @property
    def count(self) -> int:
        """Return the number of rows in the run, including those not read yet."""
        return len(self._facts)

    @property
    def head_height(self) -> int:
        """Return the lines of the head: the column names, or hints while no run is shown."""
        return 1 if self._facts else len(_EMPTY)

    @property
    def columns(self) -> Columns:
        """The columns at the current width."""
        if self._columns is None or self._columns.width != self.size.width:
            self._columns = self._plan(self._first_column)
        return self._columns

    def keeps_rows_for(self, run: RunView) -> bool:
        """Return whether the rows that the table holds are those that `run.before` names."""
        return run.before is not None and self._shows in (run.table, run.before.over)

    def show(self, run: RunView | None, look: TableLook) -> None:
        """Show the current state of a run; call again after every change."""
        self._whole_again()
        if look != replace(self._chosen, find=look.find):
            self._columns = None
        self._chosen, self._followed = look, _followed(run) if run else None
        self._answer_name = run.answer_name if run else "answer"
        self._fold(run)
        shown_from = self.row_on(self.scroll_offset.y)
        facts = _facts_of(run, look, self._followed, shown_from, self._unfolded) if run else []
        if run is not None and self.keeps_rows_for(run) and len(facts) == len(self._facts):
            # Until a row comes, that of the text before stays, looking as it did.
            facts = [
                old if new.reading is None else new
                for new, old in zip(facts, self._facts, strict=True)
            ]
        self._facts, self._shows = facts, run.table if run else None
        if self._unfolded is not None:
            self._put_on_line(self.cursor)  # if its row has been folded
        self.refresh_rows()
        self.place_changed()

    def _fold(self, run: RunView | None) -> None:
        look = self._chosen
        if run is None or look.fold is Fold.NONE or run.refused:
            self._unfolded = self._named = None
            return
        kept = [found.layer for found in found_in(run, look.find)] if look.find else []
        shown = shown_rows(
            run.rows,
            run.run.layers,
            run.formation,
            kept,
            tokens=look.fold.tokens(look.top_k),
        )
        if self._named in shown or (self._named or 0) > run.run.layers:
            self._named = None
        self._unfolded = _with(shown, self._named)

    def put_caption(self, title: str, *, changed_from: int | None) -> None:
        """Set the title, and mark the gutter of the rows from `changed_from` on, which are not of
        the question beside the table; None where all are. Of the table, only these cells are
        redrawn."""
        before, self._only_edge = self._only_edge, True
        put_title(self, title)
        self._only_edge = before
        if changed_from is None:
            self.mark_gutter(" ")
        else:
            self.mark_gutter(CHANGED, changed_from)

    def put_notes(self, notes: tuple[str, ...]) -> None:
        """Show notes on the model in the lower border."""
        if notes != self._notes:
            self._notes = notes
            self.place_changed()

    def draw_head(self, line: int, width: int, styles: Styles) -> Segments:
        """Draw the column names."""
        if not self._facts:
            return [(_EMPTY[line][:width], styles.faint)]
        return header_segments(
            self.columns,
            styles,
            self._followed,
            answer_name=self._answer_name,
            ascii_only=self._ascii,
        )

    def captions(self) -> Iterable[Caption]:
        """Return where the names of the columns and the marks beside the rows are."""
        if not self._facts:
            return
        followed = self._followed
        named: dict[str, Term] = {}
        if followed is not None:
            shown = display_text(followed.text, ascii_only=self._ascii)
            room = FIGURE_COLUMNS["tracked"].width - 1
            cut = display_text(followed.text, room, ascii_only=self._ascii).rstrip()
            named = dict.fromkeys((shown, cut), TERMS["tracked token"])
        yield Caption(0, named=named)
        last = self.head_height + self.line_count - self.scroll_offset.y
        for line in range(self.head_height, min(last, self.size.height)):
            yield Caption(line, GUTTER, GUTTER + MARKS, kind=Kind.MARKS, marks="rows")

    def draw_row(self, row: int, width: int, styles: Styles) -> Segments:
        """Draw one row."""
        return row_segments(self._facts[row], self.columns, styles, ascii_only=self._ascii)

    def look_of(self, key: int) -> object:
        """Return what is visible of a row, or of the head."""
        if 0 <= key < self.count:
            return visible_facts(self._facts[key], self.columns)
        if key >= 0 or not self._facts:
            return bool(self._facts)
        return (self.columns, self._followed, self._answer_name)

    def render_line(self, y: int) -> Strip:
        """Draw a line; below the rows it is blank, without the gutter's change of style."""
        if self._placed != self.size:
            # On a busy machine the table has been seen to get a new size and no event of it.
            self._placed = self.size
            self.call_after_refresh(self.place_changed)
        line = y - self.head_height + self.scroll_offset.y
        if y >= self.head_height and line >= self.line_count:
            return Strip.blank(self.size.width, self._colours().text)
        return super().render_line(y)

    def put_cursor(self, row: int) -> None:
        """Move the cursor to a row and post `CursorMoved`. A row to which the user goes is unfolded
        as long as the cursor is there."""
        if row != self._named and self._unfolded is not None and self.touched:
            self._unfold_only(row)
        self._put_on_line(row)

    def _put_on_line(self, row: int) -> None:
        """Move the cursor to a row, or to the one into which it is folded."""
        before = self.cursor
        super().put_cursor(self.row_on(self.line_of(row)))
        if self.cursor != before:
            self.post_message(self.CursorMoved(self.cursor))

    def _unfold_only(self, row: int) -> None:
        """Show a row that is folded, and fold the one again that was shown like this."""
        before = self._unfolded or ()
        named = row if 0 <= row < self.count and row not in before else None
        if named == self._named:
            return
        always = tuple(shown for shown in before if shown != self._named)
        self._named, self._unfolded = named, _with(always, named)
        now = self._unfolded
        ends = last_folded(now)
        self._facts = [replace(row, until=ends.get(row.layer)) for row in self._facts]
        self.refresh_rows()
        self.place_changed()
        # A row that has only moved to another line looks the same to `refresh_rows`.
        moved = [
            line for line, pair in enumerate(zip(before, now, strict=False)) if len({*pair}) > 1
        ]
        if moved:
            top = self.head_height - self.scroll_offset.y
            height = moved[-1] - moved[0] + 1
            self.refresh(Region(0, moved[0] + top, self.size.width, height))

    def reveal_row(self, row: int) -> None:
        """Scroll a row into view without moving the cursor."""
        self._reveal(row, jump=False)

    def touch(self) -> None:
        """Note that the user has moved the cursor."""
        self.touched = True

    def place_changed(self) -> None:
        """Show the notes on the model, and which rows are visible; a scrollbar would cost a column
        and a second layout."""
        self._placed, look = self.size, self._chosen
        top, height, lines = self.scroll_offset.y, self._visible_rows, self.line_count
        place = ""
        if lines > height:
            last = self.row_on(min(top + height, lines) - 1)
            place = f"{self.row_on(top)}-{last} of {self.count - 1}"
        if lines < self.count:
            folded = f"{lines} of {self.count} rows: {look.fold.words(look.top_k)}"
            place = f"{place}; {folded}" if place else folded
        room = self.size.width - 4
        put_subtitle(self, notes_line(self._notes, place, room, ascii_only=self._ascii))

    def scroll_columns(self, step: int) -> bool:
        """Scroll to later or earlier token columns where not all fit; return whether that was
        possible."""
        columns = self._plan(self._first_column + step)
        if columns.first == self._first_column:
            return False
        self._first_column, self._columns = columns.first, columns
        self.forget_rows()
        return True

    def watch_has_focus(self, has_focus: bool) -> None:
        """Redraw only the upper border, since the rows look the same with and without the focus."""
        self._only_edge = True
        super().watch_has_focus(has_focus)
        self.call_after_refresh(self._whole_again)

    def refresh(
        self,
        *regions: Region,
        repaint: bool = True,
        layout: bool = False,
        recompose: bool = False,
    ) -> Self:
        """Redraw some regions, or everything."""
        if self._only_edge and not (regions or layout or recompose):
            regions = (Region(-1, -1, self.size.width + 2, 1),)
        return super().refresh(*regions, repaint=repaint, layout=layout, recompose=recompose)

    def notify_style_update(self) -> None:
        """Redraw everything if the theme has changed, and nothing for a change of focus."""
        if self._only_edge:
            Widget.notify_style_update(self)
        else:
            super().notify_style_update()

    def _whole_again(self) -> None:
        self._only_edge = False

    def _plan(self, first: int) -> Columns:
        chosen = self._chosen
        return plan_columns(self.size.width, chosen.top_k, first, chosen.figures)


def _facts_of(
    run: RunView,
    look: TableLook,
    followed: Followed | None,
    shown_from: int,
    unfolded: tuple[int, ...] | None,
) -> list[RowFacts]:
    """Return what is drawn of every row; `shown_from` is the first visible one, which
    says why there are none, and `unfolded` are the rows that are shown, if not all are."""
    ends = last_folded(unfolded)
    answer = run.answer
    layers = run.run.layers
    readings = {reading.layer: reading for reading in run.rows}
    struck = run.refused is not None
    formation = run.formation
    hues = run.hues
    facts: list[RowFacts] = []
    before: int | None = None
    for layer in range(layers + 1):
        reading = readings.get(layer)
        top = reading.top if reading else ()
        leader = top[0].id if top else None
        facts.append(
            RowFacts(
                layer=layer,
                layers=layers,
                reading=reading,
                answer=answer.id if answer else None,
                formation=formation,
                changed=leader != before,
                hues={token.id: hues[token.id] for token in top if token.id in hues},
                followed=_place_in(followed, layer),
                find=look.find if any(matches(token, look.find) for token in top) else "",
                struck=struck,
                out_normed=layer == layers and not run.run.question.norm,
                instead=run.blank if layer == shown_from else "",
                until=ends.get(layer),
            )
        )
        before = leader
    return facts


def _with(rows: tuple[int, ...], another: int | None) -> tuple[int, ...]:
    """Return rows in order, with another one if there is one."""
    return rows if another is None else tuple(sorted((*rows, another)))


def _followed(run: RunView) -> Followed | None:
    """Return the token that the user has tracked last, or None."""
    tracked = [token for token in run.run.tracked if token.why == "user"]
    if not tracked:
        return None
    last = tracked[-1]
    return Followed(last.text, run.hues.get(last.id), last.probability, last.rank)


def _place_in(followed: Followed | None, layer: int) -> tuple[Place | None, int | None]:
    if followed is None or layer >= len(followed.probability):
        return None, None
    return Place(followed.probability[layer], followed.rank[layer]), followed.hue
