"""At which positions two runs are compared, and the rows there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from textual.timer import Timer

from tui.state.pair_places import Pair, SharedPlaces
from tui.state.run_view import RunView
from tui.widgets.places import position_words

REST_SECONDS: Final = 0.1
"""Seconds that the cursor must rest at a position before its rows are asked for."""
GRACE_SECONDS: Final = 0.1
"""Seconds for which the rows of the last position stay while others are read."""


class PairPlaces:
    """Follows the user over the positions that both prompts share."""

    def __init__(
        self,
        runs: tuple[RunView, RunView],
        want: Callable[[RunView, int], str],
        set_timer: Callable[[float, Callable[[], None]], Timer],
        arrived: Callable[[], None],
    ) -> None:
        """`want` asks for the rows of a run at a position, and says what is shown instead;
        `arrived` shows the rows of `sides`."""
        self._runs = runs
        self._want = want
        self._set_timer = set_timer
        self._arrived = arrived
        self._timer: Timer | None = None
        self._shared: dict[bool, SharedPlaces] = {}
        self.place = self._own
        """The positions to which the user has gone."""
        self._shown = self.place

    def put(self, left: RunView, right: RunView, place: Pair | None) -> None:
        """Compare two other runs, at a position of both or else where they were read."""
        self._runs = (left.own, right.own)
        self._shared.clear()
        self.place = self._shown = place or self._own

    def shared(self, *, unfolded: bool) -> SharedPlaces:
        """Return the positions that both prompts share."""
        if unfolded not in self._shared:
            self._shared[unfolded] = SharedPlaces.of(*self._runs, unfolded=unfolded)
        return self._shared[unfolded]

    @property
    def sides(self) -> tuple[RunView, RunView]:
        """Both runs at the positions that are shown, or what is being done about it."""
        left, right = (
            run.at(position) or run.blank_at(position, self._want(run, position))
            for run, position in zip(self._runs, self._shown, strict=True)
        )
        return left, right

    @property
    def words(self) -> str:
        """The positions to which the user has gone, in words."""
        left, right = (
            position_words(run, position)
            for run, position in zip(self._runs, self.place, strict=True)
        )
        return f"at {left}" if left == right else f"left at {left}, right at {right}"

    def go(self, place: Pair | None) -> None:
        """Go to a position of both prompts, or with None to those that were read."""
        self.place = place or self._own
        self._wait(REST_SECONDS, self._rested)

    def arrived(self) -> None:
        """Show the position to which the user has gone if its rows have come."""
        if self._timer is None and self._is_read:
            self._shown = self.place

    def _rested(self) -> None:
        if self._is_read:
            self._show()
            return
        for run, position in zip(self._runs, self.place, strict=True):
            if run.at(position) is None:
                self._want(run, position)
        self._wait(GRACE_SECONDS, self._show)

    def _show(self) -> None:
        self._timer = None
        self._shown = self.place
        self._arrived()

    def _wait(self, seconds: float, then: Callable[[], None]) -> None:
        if self._timer is not None:
            self._timer.stop()
        self._timer = self._set_timer(seconds, then)

    @property
    def _is_read(self) -> bool:
        return all(
            run.at(position) is not None
            for run, position in zip(self._runs, self.place, strict=True)
        )

    @property
    def _own(self) -> Pair:
        left, right = self._runs
        return left.own.run.position, right.own.run.position
