"""Live mode: what is typed is asked by itself, as soon as the typing rests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal, Protocol

from engine.events import ModelReady, ReadingDropped, ReadingMade, RunEnded, Trouble
from engine.records import Question
from tui.state.changed_since import changed_since
from tui.state.dispatch import Dispatch
from tui.state.run_view import Phase
from tui.state.view_state import ModelPhase, ViewState
from tui.text.numbers import total_seconds
from tui.worker.asker import Asker

REST_SECONDS: Final = 0.15
"""Seconds that the text must rest before it is asked: longer than the pause between two letters of
a word, and short enough to seem immediate after the last."""
ON_BELOW: Final = 0.3
"""Seconds of a pass below which live mode is on by itself. Together with the rest that is less than
half a second from the last letter to the last row; where it is more, most passes that begin while
one types do not end."""
OFF_ABOVE: Final = 1.0
"""Seconds of a pass above which it is off again. Far above `ON_BELOW`, since one slow pass (a new
picture, a busy machine) should not take away what Enter means."""

Wanted = Literal["auto", "on", "off"]


class Stoppable(Protocol):
    """A timer."""

    def stop(self) -> None: ...


Later = Callable[[float, Callable[[], None]], Stoppable]


class LiveTyping:
    """Asks what stands beside the table whenever it has been changed and has rested.

    An edit drops the draft of the text before: its pass is cancelled at its next layer, and so is
    whatever reads it. No run that the user has asked for is ever cancelled: the newest text waits
    until the model is free. Readings in the background end when it is asked, as with any new run.
    """

    def __init__(
        self,
        state: ViewState,
        asker: Asker,
        question: Callable[[], Question],
        later: Later,
        *,
        asked: Callable[[], None],
        turned: Callable[[], None],
        wanted: Wanted = "auto",
    ) -> None:
        """`question` returns what stands beside the table, `later` calls a function after so many
        seconds, `asked` is called after a draft has been asked for, and `turned` when live mode
        has turned itself on or off. With "auto" the passes decide, until the user does."""
        self._state = state
        self._asker = asker
        self._question = question
        self.later = later
        self._asked = asked
        self._turned = turned
        self._by_itself = wanted == "auto"
        self._rest: Stoppable | None = None
        self._is_held = False
        """Whether the text waits for the model to be free."""
        state.drafts.on = wanted == "on"

    def connect(self, dispatch: Dispatch) -> None:
        """Register for the events after which the model may be free."""
        dispatch.on(RunEnded, self._run_ended)
        dispatch.on(ModelReady, lambda _: self._perhaps_free())
        dispatch.on(ReadingMade, lambda _: self._perhaps_free())
        dispatch.on(ReadingDropped, lambda _: self._perhaps_free())
        dispatch.on(Trouble, lambda _: self._perhaps_free())

    @property
    def on(self) -> bool:
        """Whether live mode is on."""
        return self._state.drafts.on

    def toggle(self) -> bool:
        """Turn live mode on or off, from now on only by hand; return whether it is on."""
        self._by_itself = False
        self._turn(on=not self.on)
        return self.on

    def edited(self) -> None:
        """Ask the text, or about the picture, that stands beside the table now, once it rests."""
        if not self.on:
            return
        self._wait_no_more()
        if self._is_shown():
            if not self._state.is_draft:
                self._asker.drop_draft()  # it was asked, and has not started
            return
        self._asker.drop_draft()
        self._rest = self.later(REST_SECONDS, self._rested)

    def keep(self) -> bool:
        """Keep the draft that is shown, without asking again, if it is of what stands beside the
        table; return whether it is."""
        run = self._state.current
        if run is None or not self._state.is_draft or not self._is_shown():
            return False
        if run.phase not in (Phase.RUNNING, Phase.DONE):
            return False
        self._state.keep_draft()
        return True

    def _turn(self, *, on: bool) -> None:
        self._state.drafts.on = on
        self._wait_no_more()
        if on:
            self.edited()

    def _wait_no_more(self) -> None:
        self._is_held = False
        if self._rest is not None:
            self._rest.stop()
            self._rest = None

    def _rested(self) -> None:
        self._rest = None
        state = self._state
        if self._is_shown():
            return
        if state.busy or state.queued or state.model.phase is not ModelPhase.READY:
            self._is_held = True
            return
        self._asker.ask_draft(self._question())
        self._asked()

    def _is_shown(self) -> bool:
        """Whether the rows on the screen are, or will be, of what stands beside the table."""
        state, run = self._state, self._state.current
        if run is None or (state.is_draft and not state.drafts.stands):
            return False
        return not changed_since(run, self._question(), state.model)

    def _perhaps_free(self) -> None:
        if self._is_held and not self._state.busy:
            self._is_held = False
            self._rested()

    def _run_ended(self, event: RunEnded) -> None:
        self._perhaps_free()
        seconds = total_seconds(event.run)
        if not self._by_itself or event.run.status != "done" or seconds is None:
            return
        if not self.on and seconds < ON_BELOW:
            self._turn(on=True)
            self._turned()
        elif self.on and seconds > OFF_ABOVE:
            self._turn(on=False)
            self._turned()
