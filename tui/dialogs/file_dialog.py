"""Choosing a picture or a session: type a path, with the folder's entries below."""

from __future__ import annotations

import os
from pathlib import Path
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList
from textual.widgets.option_list import Option

from tui.show import plain_line

PICTURE_ENDINGS = frozenset({".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff"})
SESSION_ENDING = ".json"
_MOST_ENTRIES = 300


def entries(typed: str) -> list[str]:
    """Return the paths that what was typed may become: folders first, hidden ones on demand."""
    folder, _, stem = typed.rpartition("/")
    shown = f"{folder}/" if folder or typed.startswith("/") else ""
    try:
        with os.scandir(expand(shown) or ".") as found:
            listed = [(not _is_folder(entry), entry.name) for entry in found]
    except (OSError, ValueError):
        return []
    wanted = stem.lower()
    names = [
        (is_file, name)
        for is_file, name in listed
        if name.lower().startswith(wanted)
        and (not name.startswith(".") or stem.startswith("."))
        and (not is_file or _is_ours(name))
    ]
    names.sort(key=lambda pair: (pair[0], pair[1].lower()))
    return [shown + name + ("" if is_file else "/") for is_file, name in names[:_MOST_ENTRIES]]


class FileDialog(ModalScreen[str | None]):
    """Returns the path that was chosen, or None."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss", show=False),
        # Without priority: keys then act in the order in which they were typed.
        Binding("tab", "complete", show=False),
        Binding("down", "move(1)", show=False),
        Binding("up", "move(-1)", show=False),
    ]

    def __init__(self, start: str) -> None:
        super().__init__()
        self._start = start
        self._entries: list[str] = []
        self._listed: str | None = None

    def compose(self) -> ComposeResult:
        """A line to type in, and the entries."""
        with Vertical(classes="dialog") as box:
            box.border_title = "open a picture or a session"
            box.border_subtitle = "tab completes, enter opens, esc closes"
            yield Input(self._start, select_on_focus=False, compact=True)
            yield OptionList(compact=True, markup=False)

    def on_mount(self) -> None:
        """Start with what lies in the folder."""
        entry = self.query_one(Input)
        entry.cursor_blink = False
        entry.cursor_position = len(self._start)
        self.query_one(OptionList).can_focus = False
        self._list(self._start)

    @on(Input.Changed)
    def _typed(self, event: Input.Changed) -> None:
        self._list(event.value)

    @on(Input.Submitted)
    def _chosen(self, event: Input.Submitted) -> None:
        highlighted = self.query_one(OptionList).highlighted
        path = event.value if highlighted is None else self._entries[highlighted]
        self._take(path)

    @on(OptionList.OptionSelected)
    def _clicked(self, event: OptionList.OptionSelected) -> None:
        self._take(self._entries[event.option_index])

    def action_move(self, step: int) -> None:
        """Move in the list while typing goes on."""
        choices = self.query_one(OptionList)
        self._list(self.query_one(Input).value)
        if not self._entries:
            return
        here = choices.highlighted
        if here is None:
            choices.highlighted = 0 if step > 0 else len(self._entries) - 1
        else:
            choices.highlighted = min(max(here + step, 0), len(self._entries) - 1)

    def action_complete(self) -> None:
        """Take the highlighted entry into the line, or what all entries have in common."""
        self._list(self.query_one(Input).value)
        highlighted = self.query_one(OptionList).highlighted
        if highlighted is not None:
            self._put(self._entries[highlighted])
        elif self._entries:
            common = os.path.commonprefix(self._entries)  # noqa: RUF071, letters are what is typed
            if len(common) > len(self.query_one(Input).value):
                self._put(common)

    def _take(self, path: str) -> None:
        if not path.strip():
            return
        if path.endswith("/") or os.path.isdir(expand(path)):  # noqa: PTH112, see expand
            self._put(path.rstrip("/") + "/")
        else:
            self.dismiss(path)

    def _put(self, path: str) -> None:
        entry = self.query_one(Input)
        entry.value = path
        entry.cursor_position = len(path)

    def _list(self, typed: str) -> None:
        if typed == self._listed:
            return
        self._listed = typed
        self._entries = entries(typed)
        choices = self.query_one(OptionList)
        choices.clear_options()
        names = [path[typed.rfind("/") + 1 :] for path in self._entries]
        choices.add_options([Option(Content(plain_line(name))) for name in names])


def expand(path: str) -> str:
    """Return a path with its tilde resolved; unlike pathlib this never raises."""
    return os.path.expanduser(path)  # noqa: PTH111


def is_session(path: str) -> bool:
    """Return whether a path is meant as a session rather than a picture."""
    return path.lower().endswith(SESSION_ENDING)


def _is_ours(name: str) -> bool:
    ending = Path(name).suffix.lower()
    return ending in PICTURE_ENDINGS or ending == SESSION_ENDING


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False
