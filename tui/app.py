"""The explorer: all its keys together, and what the worker tells handed to the state."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from textual.app import SystemCommand
from textual.screen import ModalScreen, Screen
from textual.widgets import Input, TextArea

from engine.errors import LenscopeError
from engine.events import (
    Event,
    ModelReady,
    ReadingMade,
    RunEnded,
    RunStarted,
    SpellingsFound,
    Trouble,
)
from engine.methods.contrast import ContrastReading
from engine.methods.debias import DebiasReading
from engine.methods.seen import SeenReading
from tui.actions.keymap import is_ours, works_in_dialogs
from tui.actions.registry import ACTIONS
from tui.explorer.asking import AskingKeys
from tui.explorer.files import FilesKeys
from tui.explorer.reading import ReadingKeys
from tui.explorer.sharing import SharingKeys
from tui.explorer.sweeps import SweepKeys
from tui.startup import Startup
from tui.state.presets import read_presets
from tui.theme import theme_names


class Explorer(AskingKeys, ReadingKeys, SharingKeys, FilesKeys, SweepKeys):
    """The application."""

    def on_mount(self) -> None:
        """Show the first frame; everything that is heavy begins behind it."""
        if not self.is_headless:
            self.catch_signals()
        # Back from the shell, the terminal shows what is the shell's.
        self.app_resume_signal.subscribe(self, lambda _: self.screen.refresh(layout=True))
        self.call_after_refresh(self._begin)

    def _begin(self) -> None:
        self._clock = self.set_interval(1, self.show_lines, pause=True)
        try:
            self.presets = read_presets(self.startup.presets_file)
        except LenscopeError as error:
            self.presets = read_presets()
            self.say(str(error), "error")
        row = self.state.reopened_row
        self.show_all()
        if row is not None:
            self.table.touched = True
            self.table.put_cursor(row)
        self.show_picture()
        self.show_picture_facts()
        self.theme_changed_signal.subscribe(self, lambda theme: self._note_theme(theme.name))
        self.asker.start(self.present_question)
        self.look_for_orphan()
        self.open_sweep()

    def _note_theme(self, name: str) -> None:
        self.remembered.note(theme=name)

    def action_help(self) -> None:
        """Open the help, or close it."""
        from tui.views.help.help import Help

        if isinstance(self.screen, Help):
            self.screen.dismiss()
        elif not self.has_dialog:
            self.push_screen(Help(self.keymap, ascii_only=self.startup.ascii))

    # ------------------------------------------------------------------ what the worker tells

    def on_worker_spoke(self) -> None:
        """Fetch the worker's events, not more often than a terminal can follow."""
        self.inbox.deliver(self._take)

    def _take(self, events: list[Event]) -> None:
        if not self.is_showing:
            return
        for event in events:
            self.state.apply(event)
            if isinstance(event, ModelReady):
                self._model_ready(event)
            elif isinstance(event, RunEnded):
                self._run_ended()
                self.counterfactual_ended(event.run)
            elif isinstance(event, SpellingsFound):
                self.offer_spellings(event)
            elif isinstance(event, ReadingMade):
                self._reading_made(event)
            elif isinstance(event, Trouble):
                self.asker.stream_is_gone(event.run_id)
        self.show_all()
        self.refresh_history()
        self.refresh_against()
        if any(isinstance(event, RunStarted) for event in events):
            self.forget_seen()
            self.show_edit_title()
            self.show_picture_facts()
        live = self.state.live
        if live is not None and not self.table.touched:
            self.table.reveal_row(len(live.rows) - 1)

    def _reading_made(self, event: ReadingMade) -> None:
        match event.reading:
            case SeenReading():
                self.show_seen(event.run_id, event.reading)
            case ContrastReading():
                self.show_contrast(event.run_id, event.reading)
            case DebiasReading():
                self.show_debiased(event.reading)

    def _model_ready(self, event: ModelReady) -> None:
        self.remembered.note_model(event.model.name)
        self.asker.model_ready(event)
        if self.state.question.picture is None:
            self.preview.clear("" if event.takes_pictures else "this model reads text only")

    def _run_ended(self) -> None:
        """Before the user has touched the table, the cursor shows where the answer formed."""
        run = self.state.current
        if run is not None and run.formation is not None and not self.table.touched:
            self.table.show(run, self.state.look)
            self.table.put_cursor(run.formation)
        self.show_picture_facts()
        self.asker.ask_next()

    # ------------------------------------------------------------------ what Textual asks

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """While a dialog is open, only what makes sense there acts; letters act where nothing is
        being typed."""
        if action == "typed":
            return not (self.has_dialog or isinstance(self.focused, TextArea | Input))
        if isinstance(self.screen, ModalScreen) and is_ours(action):
            return works_in_dialogs(action)
        return True

    async def action_typed(self, name: str) -> None:
        """Run the action of a key that could have typed something."""
        await self.run_action(name)

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        """Return what the command palette offers."""
        for action in ACTIONS:
            if action.palette:
                keys = self.keymap.names(action, ascii_only=self.startup.ascii)
                yield SystemCommand(action.title, keys, self._runner(action.name))
        yield SystemCommand(
            "Picture of the screen", "saved as SVG", lambda: self.set_timer(0.1, self.shoot)
        )

    def _runner(self, name: str) -> Callable[[], Any]:
        return lambda: self.run_action(name)


def run_explorer(startup: Startup) -> int:
    """Run the explorer until it is left; return the exit code."""
    if startup.theme is not None and startup.theme not in theme_names():
        names = ", ".join(theme_names())
        print(f"lenscope: no theme is called {startup.theme!r}; there are {names}", file=sys.stderr)
        return 2
    app = Explorer(startup)
    app.run(mouse=startup.mouse)
    if app.last_words is not None:
        with suppress(OSError):  # after a hang-up nobody listens
            print(f"lenscope: {app.last_words}", file=sys.stderr)
    return app.return_code or 0
