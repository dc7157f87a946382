"""Walking over the positions of the shown run."""

from __future__ import annotations

from tui.main_screen import MainScreen
from tui.showing.presenter import Presenter
from tui.showing.visits import Visits
from tui.state.prompt_spans import Spans
from tui.state.view_state import ViewState


class Walking:
    """Moves the cursor to positions; what is shown of them follows once it rests."""

    def __init__(
        self, main: MainScreen, state: ViewState, presenter: Presenter, visits: Visits
    ) -> None:
        self._main = main
        self._state = state
        self._presenter = presenter
        self._visits = visits

    def go(self, position: int | None, row: int | None = None) -> None:
        """Go to a position, None for the run's own, and to a row if it is given."""
        state = self._state
        if state.current is None:
            return
        before = state.current.place(state.place)
        state.place = position
        here = state.current.place(position)
        if here != before:
            state.note = None
            self._visits.try_again(state.current, here)
        if row is not None and row != self._main.table.cursor:
            self._main.table.touched = True
            self._main.table.put_cursor(row)
        self._presenter.show_place()
        self._presenter.follow_cursor_soon()

    def step(self, by: int) -> None:
        """Go on by so many tokens; the folded picture counts as one."""
        spans = self._spans
        if spans is not None and self._here is not None:
            self.go(spans.step(self._here, by))

    def part(self, by: int) -> None:
        """Go to where the next or the previous part of the prompt begins."""
        spans = self._spans
        if spans is not None and self._here is not None:
            self.go(spans.next_part(self._here, by))

    def unfold(self) -> None:
        """Show and walk every patch of the picture by itself, or the picture as one."""
        self._state.unfolded = not self._state.unfolded
        self._presenter.show_place()

    @property
    def _here(self) -> int | None:
        run = self._state.current
        return run.place(self._state.place) if run is not None else None

    @property
    def _spans(self) -> Spans | None:
        run = self._state.current
        return run.spans(unfolded=self._state.unfolded) if run is not None else None
