"""The run of a text that is still being typed: which one it is, and what is not to be believed of
it. Independent of Textual."""

from __future__ import annotations

from collections import deque
from typing import Final

from engine.events import Event
from engine.records import Run
from tui.state.run_view import RowsBefore, RunView

_REMEMBERED: Final = 64
"""How many dropped drafts are known: what is told about a draft arrives soon after it."""


class Drafts:
    """The draft: the run of the text as it was typed last in live mode.

    It is shown like any other run, but it is not in the list of runs, in no journal and in no
    session file, until it is kept. Only the newest counts: once a draft has been dropped, because
    the text has been changed, what is still told about it is ignored.
    """

    def __init__(self) -> None:
        self.on = False
        """Whether live mode is on."""
        self.view: RunView | None = None
        """The newest draft that has started, also after it has been dropped: its rows stay on the
        screen until others come."""
        self.refused = False
        """Whether the text that was asked last cannot be asked."""
        self._newest: str | None = None
        self._dropped: deque[str] = deque(maxlen=_REMEMBERED)

    def asked(self, run_id: str) -> None:
        """Note that a draft has been asked for."""
        self._newest, self.refused = run_id, False

    def is_newest(self, run_id: str | None) -> bool:
        """Return whether this is the newest draft, and not dropped."""
        return run_id is not None and run_id == self._newest

    @property
    def stands(self) -> bool:
        """Whether the shown draft has not been dropped, so that it can be read and kept."""
        return self.view is not None and self.is_newest(self.view.run.id)

    def drop(self) -> str | None:
        """Drop the newest draft; return its id, or None where there is none."""
        dropped, self._newest = self._newest, None
        if dropped is not None:
            self._dropped.append(dropped)
        return dropped

    def ignores(self, event: Event) -> bool:
        """Return whether an event is about a draft that has been dropped."""
        run = getattr(event, "run", None)
        run_id = run.id if isinstance(run, Run) else getattr(event, "run_id", None)
        return run_id in self._dropped

    def release(self) -> RunView:
        """Let go of the draft, which becomes a run like any other."""
        assert self.view is not None
        view, self.view, self._newest = self.view, None, None
        return view


def rows_before(shown: RunView | None, run: Run) -> RowsBefore | None:
    """Return whose rows stay below those of a run that starts in place of the shown one; None
    where none do."""
    if shown is None or shown.base is not None or shown.refused or shown.run.layers != run.layers:
        return None
    asked = shown.run.question
    of, starts = asked.model, run.question.model
    if of is None or starts is None or of.name != starts.name:
        return None
    read = len(shown.rows)
    below = shown.before.parts if shown.before is not None else ()
    parts = ((read, asked), *(part for part in below if part[0] > read))
    return RowsBefore(shown.table, parts if read else parts[1:])
