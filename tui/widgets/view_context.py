"""What views in the lower slot are constructed with, and the interface that they need."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from engine.events import Trouble
from tui.actions.keymap import Keymap
from tui.disk.remembered import Remembered
from tui.startup import Startup
from tui.state.run_view import RunView
from tui.text.show import plain_line
from tui.widgets.remedies import with_keys
from tui.worker.asker import Asker


@dataclass(frozen=True)
class ViewContext:
    """What the views on the main screen share."""

    startup: Startup
    keymap: Keymap
    asker: Asker
    remembered: Remembered
    seed: Callable[[], int]
    """Returns the seed of noise instead of a picture, as it is set now."""

    @property
    def ascii_only(self) -> bool:
        """Whether to draw only ASCII."""
        return self.startup.ascii

    def said(self, trouble: Trouble) -> str:
        """Return an error's line with the user's keys that resolve it, made safe for display."""
        words = with_keys(trouble.error, trouble.remedies, self.keymap)
        return plain_line(words, ascii_only=self.ascii_only)


class FollowsTable(Protocol):
    """A view that shows something about the run and the row under the table's cursor."""

    def show(self, run: RunView | None, row: int) -> None: ...
