"""What the rest of the explorer needs of a table that can be searched, and of a screen that shows
two runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from tui.state.finding import Hit
from tui.state.pair_places import Pair, SharedPlaces
from tui.state.run_view import RunView
from tui.state.table_look import TableLook
from tui.widgets.find_line import FindLine
from tui.widgets.folded_list import FoldedList


class Searched(Protocol):
    """A table in which tokens are found."""

    @property
    def find_line(self) -> FindLine:
        """The line in which the user types what to find."""

    @property
    def cursor(self) -> int:
        """The row under the cursor."""

    @property
    def held(self) -> int:
        """How many tokens are known of the row of which most are."""

    def hits(self, wanted: str) -> Sequence[Hit]:
        """Return the rows in which something is found, from the top."""

    def mark(self, look: TableLook) -> None:
        """Mark what is found, as the look says."""

    def go(self, row: int) -> None:
        """Go to a row."""

    def set_open(self, is_open: bool) -> None:
        """Make room for the line, or leave it for the table."""


@runtime_checkable
class TwoRuns(Protocol):
    """A screen that compares two runs."""

    @property
    def sides(self) -> tuple[RunView, RunView]:
        """Both runs, at the positions that are shown."""

    @property
    def table_of_rows(self) -> FoldedList:
        """Their table."""

    @property
    def searched(self) -> Searched:
        """The table as it is searched."""

    @property
    def place(self) -> Pair:
        """The positions to which the user has gone."""

    def perform(self, identity: str) -> None:
        """Do what an action of the registry does here, or say why it does nothing."""

    def show_look(self, look: TableLook) -> None:
        """Show the rows as the user has chosen, and whatever has changed in the runs."""

    def places(self, *, unfolded: bool) -> SharedPlaces:
        """Return the positions that both prompts share."""

    def go(self, place: Pair | None) -> None:
        """Go to a position of both prompts, or with None to those that were read."""


@runtime_checkable
class Tells(Protocol):
    """A screen that covers the message line, and shows messages itself."""

    def tell(self, words: str) -> None:
        """Show a message; an empty one takes the last one away."""
