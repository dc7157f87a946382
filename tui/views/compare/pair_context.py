"""What a comparison shares with the rest of the explorer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tui.actions.keymap import Keymap
from tui.state.run_view import RunView
from tui.state.table_look import TableLook


@dataclass(frozen=True)
class PairContext:
    """What a comparison shares with the rest of the explorer."""

    ascii_only: bool = False
    keymap: Keymap = field(default_factory=Keymap)
    look: Callable[[], TableLook] = TableLook
    """Returns the user's choices about tables."""
    want: Callable[[RunView, int], str] = lambda run, position: "this position has not been read"
    """Asks for the rows of a run at a position; returns what is shown instead of them."""
    runs: Callable[[], Sequence[RunView]] = tuple
    """Returns the runs that can be compared, in order."""
