"""Keys about files: open, save, reopen; and how the program is left."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from textual.message import Message
from textual.timer import Timer

import samples
from engine.errors import LenscopeError
from engine.records import Picture, Session
from tui.disk.journal import Journal, Orphan, newest_orphan, retire
from tui.disk.paths import short_path
from tui.disk.saving import keep_unsaved, save_session
from tui.explorer.runs import RunsKeys
from tui.startup import Startup

_JOURNAL_SECONDS = 1.0
"""What is new on the screen is on the disk so much later."""

_PATIENCE_SECONDS = 5.0
"""After a signal the program ends within this time, whatever the terminal does."""


class FilesKeys(RunsKeys):
    """What reads and writes the session."""

    last_words: str | None = None
    """To be printed when the terminal is ours no more."""
    _left = False
    _kept_well = True
    _orphan: Orphan | None = None
    _journal_timer: Timer | None = None
    _journalled = 0

    def __init__(self, startup: Startup) -> None:
        super().__init__(startup)
        self._journal = Journal()

    @dataclass
    class SessionRead(Message):
        """A session file has been read."""

        session: Session
        path: Path

    @dataclass
    class OrphanFound(Message):
        """The session of an explorer that was killed."""

        orphan: Orphan

    @dataclass
    class Refused(Message):
        """Something in the background could not be done."""

        error: str

    # ------------------------------------------------------------------ open and save

    def action_save(self) -> None:
        """Save the session."""
        save_session(self.state, self.table.cursor)
        self.show_lines()

    def action_open(self) -> None:
        """Choose a picture or a session."""
        from tui.views.files.file_dialog import FileDialog

        self.push_screen(
            FileDialog(
                self._start_folder(),
                recent=self.remembered.pictures,
                ascii_only=self.startup.ascii,
                preview=not (self.startup.ascii or self.startup.lite),
                truecolour=self.is_truecolour,
            ),
            self._open_path,
        )

    def _start_folder(self) -> str:
        picture = self.state.question.picture
        if picture is None or picture.path == str(samples.DEFAULT_PICTURE):
            return ""
        folder = Path(picture.path).parent
        return f"{folder}/" if folder.is_dir() and str(folder) != "." else ""

    def _open_path(self, path: str | None) -> None:
        from tui.views.files.file_dialog import expand, is_session

        if path is None:
            return
        whole = expand(path)
        if is_session(whole):
            self.read_session(Path(whole))
        else:
            self.preview.open(Picture(whole))

    def read_session(self, path: Path) -> None:
        """Read a session in the background and show it."""
        self.say(f"reading {short_path(path)}")

        def work() -> None:
            from engine.sessions import read_session

            try:
                self.post_message(self.SessionRead(read_session(path), path))
            except LenscopeError as error:
                self.post_message(self.Refused(str(error)))

        threading.Thread(target=work, daemon=True).start()

    def on_files_keys_session_read(self, message: FilesKeys.SessionRead) -> None:
        """Show another session."""
        self._show_session(message.session, message.path)

    def _show_session(self, session: Session, path: Path | None) -> None:
        """What was not saved of the present session is kept first."""
        self.asker.cancel()
        kept, _ = keep_unsaved(self.state, self.table.cursor)
        self.state.asked = None
        self.state.reopen(session, path)
        self.asker.bundled = None
        self.forget_seen()
        self.put_prompt_of_question()
        self.show_all()
        self.show_picture()
        self.show_picture_facts()
        if self.state.reopened_row is not None:
            self.table.put_cursor(self.state.reopened_row)
        opened = f"opened {_runs(len(session.runs))}"
        self.say(f"{opened}; {kept}" if kept else opened, "good")

    def put_prompt_of_question(self) -> None:
        """Show in the editor what the present question asks."""
        self.editor.put(self.state.question.prompt)
        self.show_edit_title()

    def on_files_keys_refused(self, message: FilesKeys.Refused) -> None:
        """What could not be done is a line, not an end."""
        self.say(message.error, "error")

    # ------------------------------------------------------------------ the journal

    def show_all(self) -> None:
        """Show the state as it is now, and put it on the disk soon."""
        super().show_all()
        self.keep_journal()

    def keep_journal(self) -> None:
        """Put the session on the disk soon, if there is something new in it."""
        if not self.startup.autosave or self._left or self._journal_timer is not None:
            return
        if self.state.revision != self._journalled and self.state.unsaved_or_live:
            self._journal_timer = self.set_timer(_JOURNAL_SECONDS, self._write_journal)

    def _write_journal(self) -> None:
        self._journal_timer = None
        if not self.is_showing:
            return
        self._journalled = self.state.revision
        self._journal.write(self.state.session(row=self.table.cursor, with_live=True))

    def look_for_orphan(self) -> None:
        """Look in the background for a session that was not closed."""

        def work() -> None:
            orphan = newest_orphan()
            if orphan is not None:
                with suppress(RuntimeError):  # the app has left
                    self.post_message(self.OrphanFound(orphan))

        if self.startup.autosave:
            threading.Thread(target=work, daemon=True).start()

    def on_files_keys_orphan_found(self, message: FilesKeys.OrphanFound) -> None:
        """Offer it."""
        self._orphan = message.orphan
        session = message.orphan.session
        key = self.keymap.first("recover") or "the palette"
        runs = _runs(len(session.runs)) + _clock_time(session.saved)
        self.state.offer = f"a session of {runs} was not closed: {key} reopens it"
        self.show_lines()

    def action_recover(self) -> None:
        """Reopen the session that was not closed."""
        if self._orphan is None:
            self.say("there is no session that was not closed")
            return
        orphan, self._orphan = self._orphan, None
        self.state.offer = ""
        retire(orphan)
        self._show_session(orphan.session, None)

    # ------------------------------------------------------------------ the end

    def catch_signals(self) -> None:
        """A hang-up or a terminate keeps what is unsaved and leaves a clean terminal."""
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
        self.asker.stop()
        self.last_words, self._kept_well = keep_unsaved(self.state, self.table.cursor)
        self._journal.close(discard=self._kept_well)
        if self._orphan is not None:
            retire(self._orphan)  # offered once; it stays among the kept sessions
        self.remembered.settle(0.5)
        return True


def _clock_time(saved: str) -> str:
    """When that was, where this is."""
    try:
        return f" from {datetime.fromisoformat(saved).astimezone():%H:%M}"
    except ValueError:
        return ""


def _runs(count: int) -> str:
    return f"{count} run" if count == 1 else f"{count} runs"
