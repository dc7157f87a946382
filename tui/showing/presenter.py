"""Shows the state on the main screen; only what has changed is drawn."""

from __future__ import annotations

from typing import Any, Final

from msgspec.structs import replace
from textual.app import App
from textual.timer import Timer

from engine.events import RunEnded, RunStarted
from engine.records import Question
from tui.main_screen import MainScreen
from tui.state.dispatch import Dispatch
from tui.state.presets import Preset
from tui.state.view_state import ViewState
from tui.text.show import plain_line
from tui.views.table.lens_table import LensTable
from tui.widgets import status
from tui.widgets.captions import put_title
from tui.widgets.view_context import ViewContext

REST_SECONDS: Final = 0.1
"""Seconds that the cursor must rest before the views that follow it are drawn."""


class Presenter:
    """Shows the state and decides nothing else."""

    def __init__(
        self, app: App[Any], main: MainScreen, state: ViewState, context: ViewContext
    ) -> None:
        self._app = app
        self._main = main
        self._state = state
        self._keymap = context.keymap
        self._ascii = context.ascii_only
        self._rest: Timer | None = None
        self._clock: Timer | None = None
        self.presets: tuple[Preset, ...] = ()

    def connect(self, dispatch: Dispatch) -> None:
        """Register for the events that concern the table, and start the clock for elapsed times."""
        dispatch.on(RunStarted, lambda _: self.show_caption())
        dispatch.on(RunEnded, lambda _: self._run_ended())
        self._clock = self._app.set_interval(1, self.show_lines, pause=True)

    @property
    def is_showing(self) -> bool:
        """Whether the panes exist: a callback may arrive after the app has exited."""
        return self._main.is_running and bool(self._main.query(LensTable))

    def show_all(self) -> None:
        """Show the current state."""
        if not self.is_showing:
            return
        run, main = self._state.current, self._main
        if run is not None:
            main.make_room_for(run.run.layers + 1)
        main.table.show(run, self._state.look)
        put_title(main.table, status.run_title(run, self._state))
        main.line("answer").put(status.answer_text(run, ascii_only=self._ascii))
        self.show_lines()
        self.follow_cursor()
        if self._clock is not None:
            (self._clock.resume if self._state.waiting else self._clock.pause)()

    def show_lines(self) -> None:
        """Show the lines above and below the panes."""
        if not self.is_showing:
            return
        width, state = self._app.size.width, self._state
        self._main.line("title").put(status.title_line(state, width, ascii_only=self._ascii))
        message = status.message_line(state, self._keymap, width, ascii_only=self._ascii)
        self._main.line("message").put(message)

    def follow_cursor(self) -> None:
        """Update the views that follow the cursor."""
        if self.is_showing:
            self._main.lower.show(self._state.current, self._main.table.cursor)

    def follow_cursor_soon(self) -> None:
        """Update the views that follow the cursor once the cursor has rested."""
        if self._rest is not None:
            self._rest.stop()
        self._rest = self._app.set_timer(REST_SECONDS, self.follow_cursor)

    def follow_live(self) -> None:
        """Scroll to the newest row until the user has moved the cursor."""
        live = self._state.live
        if live is not None and not self._main.table.touched:
            self._main.table.reveal_row(len(live.rows) - 1)

    def show_caption(self) -> None:
        """Show in the editor's caption which preset the prompt is and whether it has been run."""
        text = self._main.editor.text
        place = next((preset.place for preset in self.presets if preset.prompt == text), "")
        run = self._state.current
        changed = run is not None and run.run.question.prompt != text
        title = ", ".join(part for part in ("prompt", place, "not run yet" * changed) if part)
        put_title(self._main.editor, plain_line(title, ascii_only=self._ascii))

    def put_prompt(self, prompt: str) -> None:
        """Replace the text in the editor by a prompt."""
        self._main.editor.put(prompt)
        self.show_caption()

    def question(self) -> Question:
        """Return the question of the next run."""
        return replace(
            self._state.question,
            prompt=self._main.editor.text,
            top_k=self._state.top_k,
            counterfactual=None,
            model=None,
            text="",
        )

    def _run_ended(self) -> None:
        """Move the cursor to the formation row unless the user has moved it."""
        run, table = self._state.current, self._main.table
        if run is not None and run.formation is not None and not table.touched:
            table.show(run, self._state.look)
            table.put_cursor(run.formation)
