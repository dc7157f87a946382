"""What every room of the application needs: the state, the panes, and how to show one in the
other."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import ClassVar

from msgspec.structs import replace
from rich.console import Console
from textual.app import App
from textual.binding import BindingType
from textual.screen import ModalScreen, Screen
from textual.timer import Timer

from engine.records import Picture, Question
from tui.actions.keymap import Keymap, app_bindings
from tui.disk.remembered import Remembered
from tui.main_screen import MainScreen
from tui.sharing import clipboard
from tui.startup import Startup
from tui.state.columns import in_order
from tui.state.measures import Measure
from tui.state.presets import Preset
from tui.state.view_state import ViewState
from tui.text.show import plain_line
from tui.theme import DARK, register_themes, theme_names, with_own_variables
from tui.views.detail.detail import Detail
from tui.views.picture.preview import Preview
from tui.views.plot.trajectories import Trajectories
from tui.views.prompt.prompt_editor import PromptEditor
from tui.views.table.find_line import FindLine
from tui.views.table.lens_table import LensTable
from tui.widgets import status
from tui.widgets.captions import put_title
from tui.worker.asker import Asker
from tui.worker.inbox import Inbox

REST_SECONDS = 0.1
"""What follows the cursor is drawn when the cursor has rested this long."""


class ExplorerBase(App[int], inherit_bindings=False):
    """Holds the state and shows it; does nothing by itself."""

    TITLE = "lenscope"
    CSS_PATH = Path(__file__).parents[1] / "lenscope.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [*app_bindings()]
    ENABLE_COMMAND_PALETTE = True

    def __init__(self, startup: Startup) -> None:
        super().__init__()
        if startup.lite:
            self.console = _console_of_256_colours(self.console)
            self.animation_level = "none"
        self.startup = startup
        self.keymap = Keymap(startup.keys)
        self.set_keymap(self.keymap.for_textual())
        self.state = ViewState(startup.question, startup.session, startup.session_path)
        self.remembered = Remembered.load() if startup.remember else Remembered()
        self.inbox = Inbox(self, rate=10 if startup.lite else 30)
        self.asker = Asker(self.state, startup, self.inbox.tell)
        self.presets: tuple[Preset, ...] = ()
        self._deepened: set[tuple[str, int, int]] = set()
        self._rest: Timer | None = None
        self._clock: Timer | None = None
        register_themes(self)
        self.theme = startup.theme or self._theme_chosen_last()
        columns = startup.columns or self.remembered.columns
        if columns is not None:
            self.state.look = dataclasses.replace(self.state.look, figures=in_order(columns))
        self._main = MainScreen(
            self.state.question.prompt,
            self.keymap,
            measure=_measure(startup.plot or self.remembered.plot),
            ascii_only=startup.ascii,
            blink=not (startup.lite or "SSH_CONNECTION" in os.environ),
            truecolour=self.is_truecolour,
            picture=startup.preview and not (startup.ascii or startup.lite or startup.no_picture),
        )

    def _theme_chosen_last(self) -> str:
        chosen = self.remembered.theme
        return chosen if chosen in theme_names() else DARK.name

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

    # ------------------------------------------------------------------ the panes

    @property
    def table(self) -> LensTable:
        """The table of layers."""
        return self._main.query_one(LensTable)

    @property
    def preview(self) -> Preview:
        """The picture pane."""
        return self._main.query_one(Preview)

    @property
    def editor(self) -> PromptEditor:
        """The prompt editor."""
        return self._main.query_one(PromptEditor)

    @property
    def detail_pane(self) -> Detail:
        """The layer detail."""
        return self._main.query_one(Detail)

    @property
    def plot_pane(self) -> Trajectories:
        """The plot over the layers."""
        return self._main.query_one(Trajectories)

    @property
    def find_line(self) -> FindLine:
        """Where a token to find is typed."""
        return self._main.query_one(FindLine)

    @property
    def is_truecolour(self) -> bool:
        """Whether pictures may have any colour."""
        return self.console.color_system == "truecolor" and not self.startup.lite

    @property
    def is_showing(self) -> bool:
        """Whether the panes are there; a callback may come when the app has left."""
        return self._main.is_running and bool(self._main.query(LensTable))

    @property
    def has_dialog(self) -> bool:
        """Whether something is open over the main screen."""
        return isinstance(self.screen, ModalScreen)

    # ------------------------------------------------------------------ showing

    def show_all(self) -> None:
        """Show the state as it is now; only what looks different is drawn."""
        if not self.is_showing:
            return
        run = self.state.current
        if run is not None:
            self._main.make_room_for(run.run.layers + 1)
        self.table.show(run, self.state.look)
        put_title(self.table, status.run_title(run, self.state))
        self._line("answer").put(status.answer_text(run, ascii_only=self.startup.ascii))
        self.show_lines()
        self.show_resting()
        if self._clock is not None:
            (self._clock.resume if self.state.waiting else self._clock.pause)()

    def show_lines(self) -> None:
        """Show the lines above and below the panes."""
        if not self.is_showing:
            return
        width, ascii_only = self.size.width, self.startup.ascii
        self._line("title").put(status.title_line(self.state, width, ascii_only=ascii_only))
        message = status.message_line(self.state, self.keymap, width, ascii_only=ascii_only)
        self._line("message").put(message)

    def show_resting(self) -> None:
        """Show what follows the cursor."""
        if not self.is_showing:
            return
        run, row = self.state.current, self.table.cursor
        if self._main.detail_open:
            self.detail_pane.show(run, row)
            self._deepen_detail()
        if self._main.plot_open:
            self.plot_pane.show(run, row)

    def on_lens_table_cursor_moved(self) -> None:
        """Draw what follows the cursor when it has come to rest, and the lines have served."""
        if self._rest is not None:
            self._rest.stop()
        self._rest = self.set_timer(REST_SECONDS, self.show_resting)

    def say(self, text: str, kind: str = "info") -> None:
        """Put a line before the user."""
        self.state.say(text, kind)
        self.show_lines()

    def copy_text(self, text: str, what: str) -> None:
        """Copy to the user's clipboard, through the terminal."""
        if clipboard.too_long(text):
            self.say(f"{what}: too long to copy through the terminal; x exports to a file", "error")
            return
        self.copy_to_clipboard(text.encode("utf-8", "replace").decode())
        clipboard.copy_through_tmux(text)
        self.say(f"copied {what}", "good")

    def on_resize(self) -> None:
        """The lines depend on the width."""
        self.call_after_refresh(self.show_all)

    def show_edit_title(self) -> None:
        """The caption of the editor says which preset the prompt is, and whether it was asked."""
        text = self.editor.text
        place = next((preset.place for preset in self.presets if preset.prompt == text), "")
        run = self.state.current
        changed = run is not None and run.run.question.prompt != text
        title = ", ".join(part for part in ("prompt", place, "not run yet" * changed) if part)
        put_title(self.editor, plain_line(title, ascii_only=self.startup.ascii))

    def show_picture(self) -> None:
        """Show the picture that the next run asks about."""
        picture = self.state.question.picture
        if picture is None and self.asker.bundled is not None:
            picture = Picture(str(self.asker.bundled))
        if picture is None:
            self.preview.clear()
        elif not self._main.has_class("-no-picture"):
            self.preview.open(picture)

    def present_question(self) -> Question:
        """Return what the next run asks."""
        return replace(
            self.state.question,
            prompt=self.editor.text,
            top_k=self.state.top_k,
            counterfactual=None,
            model=None,
            text="",
        )

    def _line(self, name: str) -> status.Line:
        return self._main.query_one(f"#{name}", status.Line)

    def _deepen_detail(self) -> None:
        """Ask for more of a row's tokens where the pane has room for more than the run holds; and
        for as many of the row before, for what has moved."""
        run, cursor, room = self.state.current, self.table.cursor, self.detail_pane.capacity
        if run is None:
            return
        for row in (cursor - 1, cursor):
            known = run.reading(row)
            wish = (run.run.id, row, room)
            if known is None or room <= len(known.top) or wish in self._deepened:
                continue
            if self.asker.deepen(run, row, room):
                self._deepened.add(wish)  # once: a small vocabulary may have no more


def _measure(name: str | None) -> Measure:
    return next((measure for measure in Measure if measure.value == name), Measure.PROBABILITY)


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
