"""The explorer: wires keys and the worker's events to the state, and the state to the panes."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from msgspec.structs import replace
from rich.console import Console
from textual.app import App, SystemCommand
from textual.binding import BindingType
from textual.message import Message
from textual.screen import ModalScreen, Screen
from textual.timer import Timer
from textual.widgets import Input, TextArea

import samples
from engine.errors import LenscopeError
from engine.events import Event, ModelReady, RunEnded, RunStarted
from engine.records import Picture, Question, Session
from tui.actions import ACTIONS, app_bindings, key_names, works_in_dialogs
from tui.disk.saving import keep_unsaved, save_session
from tui.main_screen import MainScreen
from tui.panes import status
from tui.panes.detail import Detail
from tui.panes.lens_table import LensTable
from tui.panes.preview import Preview
from tui.panes.prompt_editor import PromptEditor
from tui.sharing import clipboard
from tui.startup import Startup
from tui.state.asking import Asker
from tui.state.presets import Preset, read_presets, step_preset
from tui.state.view_state import CANCELLING, ViewState
from tui.theme import DARK, register_themes, theme_names, with_own_variables
from tui.worker_link import Inbox

REST_SECONDS = 0.1
"""What follows the cursor is drawn when the cursor has rested this long."""

_PATIENCE_SECONDS = 5.0
"""After a signal the program ends within this time, whatever the terminal does."""


class Explorer(App[int], inherit_bindings=False):
    """The application."""

    TITLE = "lenscope"
    CSS_PATH = "lenscope.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [*app_bindings()]
    ENABLE_COMMAND_PALETTE = True

    @dataclass
    class SessionRead(Message):
        """A session file has been read."""

        session: Session
        path: Path

    @dataclass
    class Refused(Message):
        """Something in the background could not be done."""

        error: str

    def __init__(self, startup: Startup) -> None:
        super().__init__()
        if startup.lite:
            self.console = _console_of_256_colours(self.console)
        self._startup = startup
        self.state = ViewState(startup.question, startup.session, startup.session_path)
        self.last_words: str | None = None
        """To be printed when the terminal is ours no more."""
        self._inbox = Inbox(self, rate=10 if startup.lite else 30)
        self._asker = Asker(self.state, startup, self._inbox.tell)
        self._presets: tuple[Preset, ...] = ()
        self._rest: Timer | None = None
        self._clock: Timer | None = None
        self._left = False
        self._kept_well = True
        register_themes(self)
        self.theme = startup.theme or DARK.name
        self._main = MainScreen(
            self.state.question.prompt,
            ascii_only=startup.ascii,
            blink=not (startup.lite or "SSH_CONNECTION" in os.environ),
            truecolour=self.console.color_system == "truecolor" and not startup.lite,
            picture=not (startup.ascii or startup.lite or startup.no_picture),
        )

    # ------------------------------------------------------------------ start and end

    def get_default_screen(self) -> Screen[None]:
        """Return the one screen."""
        return self._main

    def get_css_variables(self) -> dict[str, str]:
        """Add our own colours to every theme."""
        theme = self.current_theme
        variables = with_own_variables(
            super().get_css_variables(), dark=theme.dark, ansi=theme.ansi
        )
        self.theme_variables = variables
        return variables

    def on_mount(self) -> None:
        """Show the first frame; everything that is heavy begins behind it."""
        if not self.is_headless:
            self._catch_signals()
        self.call_after_refresh(self._begin)

    def _begin(self) -> None:
        self._clock = self.set_interval(1, self._show_lines, pause=True)
        self._presets = read_presets()
        row = self.state.reopened_row
        self._show_all()
        if row is not None:
            self._table.touched = True
            self._table.put_cursor(row)
        self._show_picture()
        self._asker.start(self._question)

    def _catch_signals(self) -> None:
        loop = asyncio.get_running_loop()

        def leave(number: int, _frame: object) -> None:
            # Not a handler of the loop's: when the line drops, the loop may be stuck writing to a
            # terminal that has gone, and what is unsaved must be kept all the same.
            if self._keep():
                code = 128 + number
                loop.call_soon_threadsafe(self.exit, None, code)
                watchdog = threading.Timer(_PATIENCE_SECONDS, os._exit, (code,))
                watchdog.daemon = True
                watchdog.start()

        for number in (signal.SIGHUP, signal.SIGTERM):
            signal.signal(number, leave)

    def action_leave(self) -> None:
        """Quit at once; unsaved runs are kept."""
        if self._keep():
            self.exit(return_code=0 if self._kept_well else 1)

    def _keep(self) -> bool:
        """Stop the worker and keep unsaved runs; return False where that has been done before."""
        if self._left:  # a hang-up is often followed by a terminate
            return False
        self._left = True
        self._asker.stop()
        self.last_words, self._kept_well = keep_unsaved(self.state, self._table.cursor)
        return True

    # ------------------------------------------------------------------ what the worker tells

    def on_worker_spoke(self) -> None:
        """Fetch the worker's events, not more often than a terminal can follow."""
        self._inbox.deliver(self._take)

    def _take(self, events: list[Event]) -> None:
        if not self.is_running:
            return
        for event in events:
            self.state.apply(event)
            if isinstance(event, ModelReady):
                self._asker.model_ready(event)
                if self.state.question.picture is None:
                    self._preview.clear(
                        "" if event.takes_pictures else "this model reads text only"
                    )
            elif isinstance(event, RunEnded):
                self._run_ended()
        self._show_all()
        if any(isinstance(event, RunStarted) for event in events):
            self._edit_title()
        live = self.state.live
        if live is not None and not self._table.touched:
            self._table.reveal_row(len(live.rows) - 1)

    def _run_ended(self) -> None:
        """Before the user has touched the table, the cursor shows where the answer formed."""
        run = self.state.current
        if run is not None and run.formation is not None and not self._table.touched:
            self._table.show(run, self.state.top_k)
            self._table.put_cursor(run.formation)

    # ------------------------------------------------------------------ showing

    @property
    def _table(self) -> LensTable:
        return self._main.query_one(LensTable)

    @property
    def _preview(self) -> Preview:
        return self._main.query_one(Preview)

    @property
    def _editor(self) -> PromptEditor:
        return self._main.query_one(PromptEditor)

    def _show_all(self) -> None:
        if not self._main.is_running:  # a callback that comes when the app has left
            return
        run = self.state.current
        if run is not None:
            self._main.make_room_for(run.run.layers + 1)
        self._table.show(run, self.state.top_k)
        title = status.run_title(run, self.state)
        if self._table.border_title != title:
            self._table.border_title = title
        self._line("answer").put(status.answer_text(run, ascii_only=self._startup.ascii))
        self._show_lines()
        self._show_detail()
        if self._clock is not None:
            (self._clock.resume if self.state.waiting else self._clock.pause)()

    def _show_lines(self) -> None:
        if not self._main.is_running:
            return
        width, ascii_only = self.size.width, self._startup.ascii
        self._line("title").put(status.title_line(self.state, width, ascii_only=ascii_only))
        self._line("message").put(status.message_line(self.state, width, ascii_only=ascii_only))

    def _line(self, name: str) -> status.Line:
        return self._main.query_one(f"#{name}", status.Line)

    def _say(self, text: str, kind: str = "info") -> None:
        self.state.say(text, kind)
        self._show_lines()

    def on_lens_table_cursor_moved(self) -> None:
        """Draw the detail when the cursor has come to rest, and the lines have served."""
        if self._rest is not None:
            self._rest.stop()
        self._rest = self.set_timer(REST_SECONDS, self._show_detail)

    def _show_detail(self) -> None:
        if self._main.is_running and self._main.detail_open:
            self._main.query_one(Detail).show(self.state.current, self._table.cursor)

    def on_resize(self) -> None:
        """The lines depend on the width."""
        self.call_after_refresh(self._show_all)

    # ------------------------------------------------------------------ the picture

    def _show_picture(self) -> None:
        picture = self.state.question.picture
        if picture is None and self._asker.bundled is not None:
            picture = Picture(str(self._asker.bundled))
        if picture is None:
            self._preview.clear()
        elif not self._main.has_class("-no-picture"):
            self._preview.open(picture)

    def on_preview_refused(self, message: Preview.Refused) -> None:
        """A picture that cannot be shown is a line, not an end."""
        self._say(message.error, "error")

    # ------------------------------------------------------------------ asking

    def action_run(self) -> None:
        """Run the question; a running pass makes way."""
        self._asker.run(self._question)
        self._show_all()

    def _question(self) -> Question:
        return replace(
            self.state.question,
            prompt=self._editor.text,
            top_k=self.state.top_k,
            counterfactual=None,
            model=None,
            text="",
        )

    def action_cancel(self) -> None:
        """Cancel a running pass; else copy what is selected; else say how to quit."""
        if self._asker.cancel():
            self.state.note = CANCELLING
            self._show_lines()
        elif selected := self._selected_text():
            self._copy(selected)
        else:
            self._say("ctrl+q quits")

    def _selected_text(self) -> str:
        focused = self.focused
        if isinstance(focused, TextArea | Input) and focused.selected_text:
            return focused.selected_text
        return self.screen.get_selected_text() or ""

    def _copy(self, text: str) -> None:
        if clipboard.too_long(text):
            self._say("too long to copy through the terminal", "error")
            return
        self.copy_to_clipboard(text.encode("utf-8", "replace").decode())
        clipboard.copy_through_tmux(text)
        self._say("copied", "good")

    def action_edit(self) -> None:
        """Put the focus into the prompt editor."""
        self._editor.focus()

    def action_preset(self, step: int) -> None:
        """Put the next or previous preset prompt into the editor."""
        preset = step_preset(self._presets, self._editor.text, step)
        if preset is None:
            self._say("there are no preset prompts here")
            return
        self._editor.put(preset.prompt)
        self._edit_title()
        self._say(f"{preset.place}: ctrl+r runs it")

    def on_text_area_changed(self) -> None:
        """The caption says which preset the prompt is."""
        self._edit_title()

    def _edit_title(self) -> None:
        text = self._editor.text
        place = next((preset.place for preset in self._presets if preset.prompt == text), "")
        run = self.state.current
        changed = run is not None and run.run.question.prompt != text
        title = ", ".join(part for part in ("prompt", place, "not run yet" * changed) if part)
        if self._editor.border_title != title:
            self._editor.border_title = title

    def action_norm(self) -> None:
        """Ask again with the final norm on or off."""
        question = self.state.question
        self.state.question = replace(question, norm=not question.norm)
        self.action_run()

    def action_more(self, step: int) -> None:
        """Show more or fewer tokens per layer; ask again only for more than the rows hold."""
        self._asker.more(step, self._question)
        self._show_all()

    def action_continue(self) -> None:
        """Continue the answer greedily."""
        self._asker.continue_answer()
        self._show_all()

    # ------------------------------------------------------------------ views

    def action_detail(self) -> None:
        """Open or close the detail of the layer."""
        self._main.toggle_detail()
        self.call_after_refresh(self._show_detail)

    def action_picture(self) -> None:
        """Show or hide the picture."""
        if self._startup.ascii:
            self._say("no picture with --ascii")
        elif self._main.toggle_picture():
            self.call_after_refresh(self._show_picture)

    def action_theme(self) -> None:
        """Choose a theme."""
        self.search_themes()

    def action_leave_editor(self) -> None:
        """Leave the editor for the table."""
        self._table.focus()

    def action_help(self) -> None:
        """Open the help, or close it."""
        from tui.dialogs.help import Help

        if isinstance(self.screen, Help):
            self.screen.dismiss()
        elif not isinstance(self.screen, ModalScreen):
            self.push_screen(Help(ascii_only=self._startup.ascii))

    def action_switch(self, step: int) -> None:
        """Show the next or previous run of the session."""
        self.state.switch(step)
        self.state.note = None
        self._show_all()
        self._edit_title()

    # ------------------------------------------------------------------ files

    def action_save(self) -> None:
        """Save the session."""
        save_session(self.state, self._table.cursor)
        self._show_lines()

    def action_open(self) -> None:
        """Choose a picture or a session."""
        from tui.dialogs.file_dialog import FileDialog

        self.push_screen(FileDialog(self._start_folder()), self._open_path)

    def _start_folder(self) -> str:
        picture = self.state.question.picture
        if picture is None or picture.path == str(samples.DEFAULT_PICTURE):
            return ""
        folder = Path(picture.path).parent
        return f"{folder}/" if folder.is_dir() and str(folder) != "." else ""

    def _open_path(self, path: str | None) -> None:
        from tui.dialogs.file_dialog import expand, is_session

        if path is None:
            return
        whole = expand(path)
        if is_session(whole):
            threading.Thread(target=self._read_session, args=(Path(whole),), daemon=True).start()
            return
        self._preview.open(Picture(whole))

    def on_preview_opened(self, message: Preview.Opened) -> None:
        """A picture that could be opened is what the next run asks about."""
        shown = message.picture.path
        known = self.state.question.picture
        if self._asker.bundled is not None and shown == str(self._asker.bundled):
            return
        if known is None or known.path != shown:
            self._asker.set_picture(Picture(shown))
            self._say("ctrl+r asks about this picture")

    def _read_session(self, path: Path) -> None:
        from engine.sessions import read_session

        try:
            self.post_message(self.SessionRead(read_session(path), path))
        except LenscopeError as error:
            self.post_message(self.Refused(str(error)))

    def on_explorer_session_read(self, message: Explorer.SessionRead) -> None:
        """Show another session; what was not saved of this one is kept first."""
        self._asker.cancel()
        kept, _ = keep_unsaved(self.state, self._table.cursor)
        self.state.asked = None
        self.state.reopen(message.session, message.path)
        self._asker.bundled = None
        self._editor.put(self.state.question.prompt)
        self._show_all()
        self._show_picture()
        if self.state.reopened_row is not None:
            self._table.put_cursor(self.state.reopened_row)
        opened = f"opened {len(message.session.runs)} runs"
        self._say(f"{opened}; {kept}" if kept else opened, "good")

    def on_explorer_refused(self, message: Explorer.Refused) -> None:
        """What could not be done is a line, not an end."""
        self._say(message.error, "error")

    # ------------------------------------------------------------------ what Textual asks

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """While a dialog is open, only what makes sense there acts."""
        ours = any(known.name.split("(")[0] == action for known in ACTIONS)
        if ours and isinstance(self.screen, ModalScreen):
            return works_in_dialogs(action)
        return True

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        """Return what the command palette offers."""
        for action in ACTIONS:
            if action.palette:
                yield SystemCommand(action.title, key_names(action), self._runner(action.name))
        yield SystemCommand(
            "Picture of the screen", "save it as SVG", lambda: self.set_timer(0.1, self._shoot)
        )

    def _runner(self, name: str) -> Callable[[], Any]:
        return lambda: self.run_action(name)

    def _shoot(self) -> None:
        path = self.save_screenshot(path=str(Path.cwd()))
        self._say(f"saved {Path(path).name}", "good")


def _console_of_256_colours(like: Console) -> Console:
    return Console(
        color_system="256",
        file=like.file,
        highlight=False,
        emoji=False,
        legacy_windows=False,
        force_terminal=True,
        safe_box=False,
    )


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
