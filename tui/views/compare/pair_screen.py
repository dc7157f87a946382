"""The base of screens that compare two runs."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, Final

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widget import Widget

from engine.events import Event, ReadingMade, RowsRead, RunEnded
from engine.tables import Table
from tui.actions.keymap import every_binding
from tui.sharing.pair_table import pair_table
from tui.state.pair_places import Pair, SharedPlaces
from tui.state.run_view import RunView
from tui.state.table_look import TableLook
from tui.text.show import plain_line
from tui.views.compare.pair_context import PairContext
from tui.views.compare.pair_keys import BY_APP, reason_against
from tui.views.compare.pair_panes import PairPanes
from tui.views.compare.pair_places import PairPlaces
from tui.views.compare.pair_search import PairSearched
from tui.views.compare.pair_table import PairTable
from tui.views.compare.verdicts import in_points
from tui.widgets.captions import put_subtitle, put_title
from tui.widgets.find_line import FindLine
from tui.widgets.later import draw_later
from tui.widgets.legend import fitted_keys
from tui.widgets.row_list import place_text

_CORNERS: Final = 4
"""Cells of a line in the border that are not its text."""
_TITLE: Final = "two runs"


class PairScreen(ModalScreen[None]):
    """Shows two runs on the whole screen. Every action of the registry acts here, or says why it
    does not; the lower border says which keys act, or what the last one did."""

    VIEW: ClassVar[str]
    BINDINGS: ClassVar[list[BindingType]] = [*every_binding("perform")]
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

    def __init__(self, table: PairTable, context: PairContext) -> None:
        super().__init__()
        self._table = table
        self._keymap = context.keymap
        self._ascii = context.ascii_only
        self._panes = PairPanes(ascii_only=self._ascii)
        self._find_line = FindLine()
        self._searched = PairSearched(table, self._find_line)
        self._places = PairPlaces(table.rows.sides, context.want, self.set_timer, self._show)
        self._note = ""
        self._box = Vertical(classes="dialog")
        table.scroll_keys = (self.key("earlier-tokens"), self.key("later-tokens"))
        self.set_class(self._ascii, "-ascii")

    @property
    @abstractmethod
    def keys(self) -> Sequence[str]:
        """Return the hints on which keys act, the most useful first; as many as fit are shown, and
        the last two always."""

    def key(self, identity: str) -> str:
        """Return the user's key for an action."""
        return self._keymap.first(identity) or "the palette"

    def below(self) -> Sequence[Widget]:
        """Return the widgets below the table."""
        return ()

    def compose(self) -> ComposeResult:
        """Lay out the table in a box."""
        with self._box:
            yield self._table
            yield self._panes.detail
            yield self._panes.pictures
            yield from self.below()
            yield self._find_line

    # What the explorer asks of it

    @property
    def sides(self) -> tuple[RunView, RunView]:
        """Both runs, at the positions that are shown."""
        return self._table.rows.sides

    @property
    def table_of_rows(self) -> PairTable:
        """The table of both runs."""
        return self._table

    @property
    def searched(self) -> PairSearched:
        """The table as it is searched."""
        return self._searched

    @property
    def table(self) -> Table:
        """The comparison as a table, for copying and exporting."""
        left, right = (_asked(view) for view in self.sides)
        return pair_table(
            self._table.rows.compared,
            (left, right),
            self._table.look.figures,
            answer_name=self.sides[0].answer_name,
        )

    @property
    def table_row(self) -> int:
        """The row under the cursor."""
        return self._table.cursor

    def show_look(self, look: TableLook) -> None:
        """Show the rows as the user has chosen, and whatever has changed in the runs."""
        self._table.show(*self._places.sides, look)
        self._follow()

    def places(self, *, unfolded: bool) -> SharedPlaces:
        """Return the positions that both prompts share."""
        return self._places.shared(unfolded=unfolded)

    @property
    def place(self) -> Pair:
        """The positions to which the user has gone."""
        return self._places.place

    def go(self, place: Pair | None) -> None:
        """Go to a position of both prompts, or with None to those that were read; their rows are
        shown once the user rests there."""
        self._places.go(place)
        self.tell(self._places.words)

    def hear(self, events: Sequence[Event]) -> None:
        """Show what has arrived of either run; where one has no rows, why may have changed: what
        was asked for was refused, or what it waited for has ended."""
        ids = {side.own.run.id for side in self.sides}
        if any(side.blank for side in self.sides) or any(
            (event.run.id if isinstance(event, RunEnded) else event.run_id) in ids
            for event in events
            if isinstance(event, ReadingMade | RowsRead | RunEnded)
        ):
            self._places.arrived()
            self._show()

    def tell(self, words: str) -> None:
        """Say below the table what came of an action, until the cursor moves."""
        self._note = words
        if self.is_mounted:
            self.say_keys()

    # What the user does

    def performers(self) -> Mapping[str, Callable[[], object]]:
        """Return what the comparison does itself, by the id of the action."""
        table = self._table
        steps = {"down": 1, "up": -1}
        pages = {"page-down": 1, "page-up": -1, "half-page-down": 0.5, "half-page-up": -0.5}
        edges = {"first-row": -1, "last-row": 1}
        found: dict[str, Callable[[], object]] = {
            **{each: partial(table.action_cursor, step) for each, step in steps.items()},
            **{each: partial(table.action_page, step) for each, step in pages.items()},
            **{each: partial(table.action_edge, side) for each, side in edges.items()},
            "later-tokens": partial(self._scroll_columns, 1),
            "earlier-tokens": partial(self._scroll_columns, -1),
            "table": self._close_panes,
            "detail": self._toggle_detail,
            "zoom-detail": self._toggle_detail,
            "more-tokens": partial(self._scroll_detail, 0.5),
            "fewer-tokens": partial(self._scroll_detail, -0.5),
            "picture": partial(self._toggle_pictures, large=False),
            "zoom-picture": partial(self._toggle_pictures, large=True),
            "plot": self.plot,
            "measure": self.plot_measure,
            "leaders": self.plot_token,
            **dict.fromkeys(("leave", "leave-editor", self.VIEW), partial(self.dismiss, None)),
        }
        return found

    def reason(self, identity: str) -> str:
        """Return why an action does nothing here; empty where it acts, or nothing is known of
        it."""
        if identity in BY_APP or identity in self.performers():
            return ""
        words = re.sub(r"\{([a-z-]+)\}", lambda found: self.key(found[1]), reason_against(identity))
        return plain_line(words, ascii_only=self._ascii)

    def perform(self, identity: str) -> None:
        """Do what an action does here, or say why it does nothing."""
        own = self.performers().get(identity)
        if own is not None:
            self.tell("")
            own()
        elif identity in BY_APP:
            app: Any = self.app
            app.do(identity)
        else:
            self.tell(self.reason(identity))

    action_perform = perform

    @abstractmethod
    def plot(self) -> None:
        """Plot both runs."""

    @abstractmethod
    def plot_measure(self) -> None:
        """Show the plot, or say that it has no other measure."""

    @abstractmethod
    def plot_token(self) -> None:
        """Show the plot, or say that it has no other token."""

    def _close_panes(self) -> None:
        for pane in (self._panes.detail, self._panes.pictures, *self.below()):
            pane.remove_class("-open")

    def _toggle_detail(self) -> None:
        self._panes.toggle_detail(self.sides, self._table.pair, self.app.size.height)

    def _scroll_detail(self, pages: float) -> None:
        if self._panes.detail.has_class("-open"):
            self.tell(self._panes.scroll_detail(pages))
        else:
            self._toggle_detail()

    def _toggle_pictures(self, *, large: bool) -> None:
        self._panes.toggle_pictures(self.sides, self.app.size.height, large=large)

    def _scroll_columns(self, step: int) -> None:
        if not self._table.scroll_columns(step):
            self.tell(f"these are the {'last' if step > 0 else 'first'} columns")

    # What is shown

    def on_mount(self) -> None:
        """Put the cursor on the first row in which the runs differ."""
        draw_later(self, self._begin)

    def on_resize(self) -> None:
        """Name as many keys as fit."""
        self.say_keys()

    def on_pair_table_moved(self) -> None:
        """Show the detail of the row under the cursor, and what it says of the answers."""
        self._follow()

    def on_row_list_touched(self) -> None:
        """Name the keys again once the cursor is moved."""
        self.tell("")

    def on_row_list_place_changed(self) -> None:
        """Show in the title which rows are visible."""
        self._say_title()

    def say_keys(self) -> None:
        """Show which keys act now, or what the last one did."""
        keys = self._note or fitted_keys(self.keys, self.app.size.width - _CORNERS)
        put_subtitle(self._box, plain_line(keys, ascii_only=self._ascii))

    def put_runs(self, left: RunView, right: RunView, place: Pair | None = None) -> None:
        """Compare two other runs, at a position of both prompts or else where they were read."""
        self._places.put(left, right, place)
        self._show()

    def _show(self) -> None:
        self.show_look(self._table.look)

    def _follow(self) -> None:
        self._panes.show(self.sides, self._table.pair)
        self._say_title()

    def _say_title(self) -> None:
        """Say which rows are visible, and what that under the cursor says of the answers."""
        table, place = self._table, place_text(self._table)
        parts = [_TITLE, f"rows {place}" if place else ""]
        if table.line_count < table.count:
            parts[1] = f"{table.line_count} of {table.count} rows"
        if self.says_points:
            parts.append(in_points(table.pair, table.answers, ascii_only=self._ascii))
        put_title(self._box, ", ".join(part for part in parts if part))

    def _begin(self) -> None:
        self._table.put_cursor(self._table.rows.compared.parts or 0)


def _asked(view: RunView) -> str:
    picture = view.run.question.picture
    return f"{view.name}, {picture.path}" if picture is not None else view.name
