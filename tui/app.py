"""The explorer: one state, one screen that shows it and one connection to the worker. What the
user can do is listed in the registry of actions; each action is a function that is called with
the app."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, ClassVar

from rich.console import Console
from textual import events, on
from textual.binding import BindingType
from textual.screen import ModalScreen, Screen
from textual.widgets import Input, TextArea

from engine.errors import LenscopeError
from engine.events import Event, ModelReady
from tui.actions.keymap import Keymap, app_bindings, works_in_dialogs
from tui.actions.registry import BY_ID
from tui.disk.crashes import describe_crash, keep_traceback
from tui.disk.journal_keeper import JournalKeeper
from tui.disk.leaving import Leaving
from tui.disk.orphans import Orphan, newest_orphan
from tui.disk.remembered import Remembered
from tui.main_screen import MainScreen
from tui.sharing import clipboard
from tui.showing.beside_table import BesideTable
from tui.showing.live_typing import LiveTyping
from tui.showing.picture_shown import PictureShown
from tui.showing.presenter import Presenter
from tui.showing.search import MainRows, Search
from tui.showing.visits import Visits
from tui.showing.walking import Walking
from tui.startup import Startup
from tui.state.columns import in_order
from tui.state.dispatch import Dispatch
from tui.state.listing import Order
from tui.state.presets import read_presets
from tui.state.view_state import ViewState
from tui.terminal.terminal_app import TerminalApp
from tui.text.show import display_text, plain_line
from tui.theme import DARK, register_themes, theme_names, with_own_variables
from tui.views.picture.preview import Preview
from tui.widgets.background import WorkFailed, in_background
from tui.widgets.find_line import FindLine
from tui.widgets.half_blocks import Colours
from tui.widgets.places import PlaceChosen
from tui.widgets.two_runs import Searched, TwoRuns
from tui.widgets.view_context import ViewContext
from tui.worker.asker import Asker
from tui.worker.inbox import Inbox

if TYPE_CHECKING:
    from tui.views.sweep.sweep_view import SweepShown

_CLICK_AGAIN_SECONDS = 4.0
"""How long after a click on the hint to quit a second one quits."""
_FOREIGN_LINES = 10
"""How many of the last lines that other code wrote are printed after leaving."""


class Explorer(TerminalApp, inherit_bindings=False):
    """Connects the parts of the explorer; actions are called with it."""

    TITLE = "lenscope"
    CSS_PATH = Path(__file__).parent / "lenscope.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [*app_bindings()]
    ENABLE_COMMAND_PALETTE = False

    def __init__(self, startup: Startup) -> None:
        super().__init__(diff=startup.diff)
        if startup.lite or _is_in_gnu_screen():
            self.console = _console_of_256_colours(self.console)
        if startup.lite:
            self.animation_level = "none"
        self.startup = startup
        self.keymap = Keymap(startup.keys)
        self.set_keymap(self.keymap.for_textual())
        self.set_class(startup.slow_line, "-slow-line")
        self.state = ViewState(startup.question, startup.session, startup.session_path)
        self.remembered = Remembered.load() if startup.remember else Remembered()
        self.inbox = Inbox(self, rate=10 if startup.lite else 30)
        self.asker = Asker(self.state, startup, self.inbox.tell)
        self.seed = startup.seed
        """Seed of the noise that can be shown instead of a picture."""
        self.sweep: SweepShown | None = None
        """What has been read so far of the open sweep."""
        self.sweep_order = Order()
        """How its items are sorted and filtered."""
        self.sweep_listed: tuple[str, ...] = ()
        """The items of the list from which the last one was opened, in order."""
        held = startup.session.runs if startup.sweep is not None and startup.session else ()
        self.sweep_opened = {run.id: run for run in held}
        """The id of an item in the session -> its run as it was opened, which has the same id."""
        self.stop_waiting: Callable[[], None] = lambda: None
        """Stops waiting for the run that is to be compared with another when it arrives."""
        self.copy_format = startup.copy_format or self.remembered.copy_format
        register_themes(self)
        last = self.remembered.theme
        self.theme = startup.theme or (last if last in theme_names() else DARK.name)
        columns = startup.columns or self.remembered.columns
        if columns is not None:
            self.state.look = dataclasses.replace(self.state.look, figures=in_order(columns))
        self.context = ViewContext(
            startup, self.keymap, self.asker, self.remembered, lambda: self.seed
        )
        self.main = MainScreen(
            self.state.question.prompt,
            self.keymap,
            self.context,
            blink=not startup.slow_line,
            colours=self.picture_colours,
            picture=startup.preview and not (startup.ascii or startup.lite or startup.no_picture),
        )
        self.visits = Visits(self.context)
        self.presenter = Presenter(self, self.main, self.state, self.context, self.visits)
        self.walking = Walking(self.main, self.state, self.presenter, self.visits)
        self.picture = PictureShown(self.main, self.state, self.asker, self.remembered)
        self.beside = BesideTable(self.main, self.state, self.presenter, self.picture)
        self.live = LiveTyping(
            self.state,
            self.asker,
            self.presenter.question,
            self.set_timer,
            asked=self.presenter.show_draft_asked,
            turned=self.presenter.show_captions,
            wanted=startup.live,
        )
        self._main_rows = MainRows(self.main, self.state)
        self.search = Search(self._searched, self.state, self.keymap, self.say)
        self.journal = JournalKeeper(
            self.state,
            self._row,
            self.set_timer,
            autosave=startup.autosave,
            in_app=self.call_later,
            shown=self.presenter.show_lines,
        )
        self.leaving = Leaving(
            self.state, self._row, self.journal, self.remembered, self.asker.stop
        )
        self.dispatch = Dispatch(self.state, self._open_views)
        self.pasted = ""
        """What was pasted last where nothing is typed."""
        self._quit_clicked = -_CLICK_AGAIN_SECONDS
        self.crash: Exception | None = None
        """The error of our own, if any, on which the explorer has ended."""

    def get_default_screen(self) -> Screen[None]:
        """Return the main screen."""
        return self.main

    def get_css_variables(self) -> dict[str, str]:
        """Add our own colours to every theme."""
        theme = self.current_theme
        variables = with_own_variables(
            super().get_css_variables(), dark=theme.dark, ansi=theme.ansi
        )
        self.theme_variables = variables
        return variables

    @property
    def picture_colours(self) -> Colours:
        """How finely pictures are coloured on this terminal and line."""
        if self.console.color_system != "truecolor":
            return Colours.INDEXED
        return Colours.EVEN if self.startup.slow_line else Colours.FINE

    @property
    def has_dialog(self) -> bool:
        """Whether a dialog is open over the main screen."""
        return isinstance(self.screen, ModalScreen)

    @property
    def can_explain(self) -> bool:
        """Whether the screen has what can be explained: the help and an explanation have not."""
        return bool(getattr(self.screen, "IS_EXPLAINED", True))

    def _handle_exception(self, error: Exception) -> None:
        self.crash = self.crash or error
        super()._handle_exception(error)

    def _fatal_error(self) -> None:
        # Textual would print a traceback with the values of all variables.
        self._close_messages_no_wait()

    # ------------------------------------------------------------------ starting

    def on_mount(self) -> None:
        """Show the first frame, and start all slow work after it."""
        if not self.is_headless:
            self.leaving.catch_signals(lambda code: self.exit(None, code))
        self.call_after_refresh(self._begin)

    def _begin(self) -> None:
        if not self.is_running:
            return  # left before it was there
        self.dispatch.on(ModelReady, lambda event: self.remembered.note_model(event.model.name))
        self.asker.connect(self.dispatch)
        self.visits.connect(self.dispatch)
        self.presenter.connect(self.dispatch)
        self.picture.connect(self.dispatch)
        self.beside.connect(self.dispatch)
        self.live.connect(self.dispatch)
        try:
            self.presenter.presets = read_presets(self.startup.presets_file)
        except LenscopeError as error:
            self.presenter.presets = read_presets()
            self.say(str(error), "error")
        row = self.state.reopened_row
        self.presenter.show_all()
        if row is not None:
            self.main.table.touched = True
            self.main.table.put_cursor(row)
        self.picture.open()
        self.picture.show_facts()
        self.theme_changed_signal.subscribe(
            self, lambda theme: self.remembered.note(theme=theme.name)
        )
        # Only then does the worker start, whose imports would delay the first frame.
        self.call_after_refresh(self.asker.start, self.presenter.question)
        if self.startup.autosave:
            in_background(self, newest_orphan, self._offer)
        if self.startup.sweep is not None and not self.state.runs:
            self.do("sweep")

    def _offer(self, orphan: Orphan | None) -> None:
        if orphan is not None:
            self.leaving.offer(orphan, self.keymap.first("recover") or "the palette")
            self.presenter.show_lines()

    # ------------------------------------------------------------------ what the user does

    def do(self, identity: str) -> None:
        """Call the function of an action in the registry. Keys that were typed after the one that
        quits do nothing: the screen is being taken apart."""
        if self._exit:
            return
        action = BY_ID[identity]
        action.function(self, **action.arguments)

    action_do = do
    """Used by keys that type nothing, by clicks on their hints and by the palette."""
    action_in_dialog = do
    """Used by keys that an editor may use otherwise, while a dialog is open."""
    action_typed = do
    """Used by keys that would otherwise type a character: see `check_action`."""

    def action_leave_clicked(self) -> None:
        """Quit at the second click: the first one may have been meant for something else."""
        now = monotonic()
        if now - self._quit_clicked < _CLICK_AGAIN_SECONDS:
            self.do("leave")
            return
        self._quit_clicked = now
        self.say(f"a second click quits, or {self.keymap.first('leave') or 'ctrl+q'}")

    def on_click(self, event: events.Click) -> None:
        """Close a dialog by a click beside it, or on its lower border, which names its keys;
        explain a caption or the name of a column."""
        screen, clicked = self.screen, event.widget
        # The click may have opened the dialog, or be one on a screen that it has closed.
        if clicked is None or screen not in clicked.ancestors_with_self or not screen.is_current:
            return
        box = next(iter(screen.query(".dialog, .whole-dialog")), None)
        if isinstance(screen, ModalScreen) and box is not None:
            at, region = event.screen_offset, box.region
            if not region.contains_point(at) or at.y == region.bottom - 1:
                event.stop()
                screen.dismiss(None)
                return
        if self.can_explain:
            from tui.views.help.explanation import explanation_of_click

            ascii_only = self.startup.ascii
            explanation = explanation_of_click(screen, event, self.keymap, ascii_only=ascii_only)
            if explanation is not None:
                self.push_screen(explanation)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Allow only actions that make sense in a dialog while one is open, and letter keys only
        while nothing is being typed."""
        if action == "in_dialog":
            return self.has_dialog
        explains = parameters[:1] == ("explain",)
        if action == "typed":
            has_room = not self.has_dialog or (explains and self.can_explain)
            return has_room and not isinstance(self.focused, TextArea | Input)
        if action == "do" and explains:
            return self.can_explain  # an explanation is closed by the same key
        if action == "do" and self.has_dialog:
            return works_in_dialogs(str(parameters[0]))
        return True

    # ------------------------------------------------------------------ events of the worker

    def on_worker_spoke(self) -> None:
        """Fetch the worker's events, no more often than a terminal can follow."""
        self.inbox.deliver(self._take)

    def _take(self, events: list[Event]) -> None:
        if self.presenter.is_showing:
            self.dispatch.tell(events)
            self.presenter.show_all()
            self.presenter.follow_live()

    def _open_views(self) -> Iterator[object]:
        yield from self.screen_stack
        yield from self.main.lower.open

    def _row(self) -> int:
        return self.main.table.cursor

    # ------------------------------------------------------------------ what is shown

    def say(self, text: str, kind: str = "info") -> None:
        """Show the user a one-line message."""
        self.state.say(text, kind)
        self.presenter.show_lines()

    def show_look(self) -> None:
        """Show the table, and a comparison that lies over it, as the user has chosen."""
        self.presenter.show_all()
        if self.two_runs is not None:
            self.two_runs.show_look(self.state.look)

    @property
    def two_runs(self) -> TwoRuns | None:
        """The comparison that is shown; None where none is, or the program is about to end."""
        front = self.screen_stack[-1] if self.screen_stack else None
        return front if isinstance(front, TwoRuns) else None

    def _searched(self) -> Searched:
        return self.two_runs.searched if self.two_runs is not None else self._main_rows

    def copy_text(self, text: str, what: str) -> None:
        """Copy text to the user's clipboard through the terminal; `what` names it in the
        message."""
        if clipboard.too_long(text):
            self.say(f"{what}: too long to copy through the terminal; x exports to a file", "error")
            return
        self.copy_to_clipboard(text.encode("utf-8", "replace").decode())
        wrapped = clipboard.through_screen(text)
        if wrapped is not None:
            self._send(wrapped)
        clipboard.copy_through_tmux(text, self._send)
        self.say(f"copied {what}", "good")

    def _send(self, sequence: str) -> None:
        """Write to the terminal past the screen; from any thread."""
        if self._driver is not None:
            self._driver.write(sequence)

    def on_resize(self, event: events.Resize) -> None:
        """Lay out everything again, since the lines depend on the width."""
        self.call_after_refresh(self.presenter.show_all)

    def on_lens_table_cursor_moved(self) -> None:
        """Draw what follows the cursor once the cursor rests."""
        self.presenter.cursor_moved()

    def on_text_area_changed(self) -> None:
        """Ask the text in live mode, and update the captions, which say what the prompt is and
        whether it has been asked."""
        self.live.edited()
        self.presenter.show_captions_after_edit()

    def on_paste(self, event: events.Paste) -> None:
        """Open the file whose path is pasted, or dropped, where nothing is typed."""
        if not (self.has_dialog or isinstance(self.focused, TextArea | Input)):
            self.pasted = event.text
            self.do("open-pasted")

    @on(PlaceChosen)
    def _go(self, message: PlaceChosen) -> None:
        message.taken = True
        self.walking.go(message.position, message.row)

    @on(FindLine.Typed)
    def _find(self, message: FindLine.Typed) -> None:
        self.search.typed(message.wanted)

    @on(FindLine.Closed)
    def _found(self, message: FindLine.Closed) -> None:
        self.search.closed(kept=message.kept)
        self.show_look()

    def on_work_failed(self, message: WorkFailed) -> None:
        """Report what went wrong in the background."""
        self.say(message.line, "error")

    def on_preview_refused(self, message: Preview.Refused) -> None:
        """Report a picture that cannot be shown."""
        self.picture.shows_seen = False
        self.say(message.error, "error")

    def on_preview_opened(self, message: Preview.Opened) -> None:
        """Use the picture that has been opened in the next run."""
        self.picture.opened(message, self.say)
        self.live.edited()
        self.presenter.show_captions()


def _is_in_gnu_screen() -> bool:
    """Whether GNU screen passes our output on: version 4 takes 24-bit colours for other codes."""
    return "STY" in os.environ and "TMUX" not in os.environ


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


def _print_foreign_lines(app: Explorer) -> None:
    lines = app.foreign_lines()
    if lines:
        with suppress(OSError):
            print("lenscope: meanwhile, other code wrote:", file=sys.stderr)
            for line in lines[-_FOREIGN_LINES:]:
                print(f"  {display_text(line, spaces=False)}", file=sys.stderr)


def run_explorer(startup: Startup) -> int:
    """Run the explorer until the user quits; return the exit code."""
    if startup.theme is not None and startup.theme not in theme_names():
        names = ", ".join(theme_names())
        print(f"lenscope: unknown theme {startup.theme!r}; choose from {names}", file=sys.stderr)
        return 2
    app = Explorer(startup)
    try:
        app.run(mouse=startup.mouse)
    except Exception as error:
        app.crash = app.crash or error
    if app.crash is not None:
        _report_crash(app, app.crash)
    elif app.leaving.last_words is not None:
        _complain(app.leaving.last_words)
    _print_foreign_lines(app)
    return app.return_code or (0 if app.crash is None else 1)


def _report_crash(app: Explorer, error: Exception) -> None:
    """Say what happened and how to go on, without a page of values."""
    kept = app.leaving.after_crash()
    traceback = keep_traceback(error)
    _complain(f"the explorer ended on an error of its own ({describe_crash(error)})")
    if kept is not None:
        _complain(kept)
    if traceback is not None:
        _complain(f"the traceback is in {traceback}")


def _complain(text: str) -> None:
    with suppress(OSError):  # after a hang-up the terminal is gone
        print(f"lenscope: {plain_line(text)}", file=sys.stderr)
