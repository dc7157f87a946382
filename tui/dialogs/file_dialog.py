"""Choosing a picture or a session: type a path, with the folder's entries below."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.timer import Timer
from textual.widgets import Input, OptionList
from textual.widgets.option_list import Option

from engine.records import Picture
from tui.disk.paths import short_path
from tui.panes.preview import Preview
from tui.show import plain_line

PICTURE_ENDINGS = frozenset({".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff"})
SESSION_ENDING = ".json"
_MOST_ENTRIES = 300
_REST_SECONDS = 0.15
_PREVIEW_FROM = 80
"""Cells of the screen."""


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

    DEFAULT_CSS = """
    FileDialog Horizontal { height: 1fr; }
    FileDialog OptionList { width: 1fr; }
    FileDialog #peek { width: 32; height: 100%; border: round $frame; display: none; }
    FileDialog.-peeking #peek { display: block; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss", show=False),
        # Without priority: keys then act in the order in which they were typed.
        Binding("tab", "complete", show=False),
        Binding("down", "move(1)", show=False),
        Binding("up", "move(-1)", show=False),
    ]

    def __init__(
        self,
        start: str,
        *,
        recent: Sequence[str] = (),
        preview: bool = True,
        truecolour: bool = True,
    ) -> None:
        """`recent` pictures are offered before anything is typed."""
        super().__init__()
        self._start = start
        self._recent = [path for path in recent if _is_file(path)]
        self._previews = preview
        self._truecolour = truecolour
        self._entries: list[str] = []
        self._listed: str | None = None
        self._rest: Timer | None = None

    def compose(self) -> ComposeResult:
        """A line to type in, and the entries."""
        with Vertical(classes="dialog") as box:
            box.border_title = "open a picture or a session"
            box.border_subtitle = "tab completes, enter opens, esc closes"
            yield Input(self._start, select_on_focus=False, compact=True)
            with Horizontal():
                yield OptionList(compact=True, markup=False)
                yield Preview(truecolour=self._truecolour, identity="peek")

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

    @on(OptionList.OptionHighlighted)
    def _highlighted(self) -> None:
        """Show the picture under the cursor, when the cursor rests."""
        if self._rest is not None:
            self._rest.stop()
        if self._previews and self.app.size.width >= _PREVIEW_FROM:
            self._rest = self.set_timer(_REST_SECONDS, self._peek)

    def _peek(self) -> None:
        index = self.query_one(OptionList).highlighted
        path = self._entries[index] if index is not None and index < len(self._entries) else ""
        is_picture = Path(path).suffix.lower() in PICTURE_ENDINGS
        self.set_class(is_picture, "-peeking")
        if is_picture:
            self.query_one(Preview).open(Picture(expand(path)))

    def on_preview_opened(self, message: Preview.Opened) -> None:
        """To look at a picture is not to choose it."""
        message.stop()

    def on_preview_refused(self, message: Preview.Refused) -> None:
        """What cannot be opened has no preview, and says why."""
        message.stop()
        self.query_one(Preview).clear("no picture")

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
        names = [path[typed.rfind("/") + 1 :] for path in self._entries]
        if typed == self._start:
            self._entries += self._recent
            names += [f"recent: {short_path(Path(path))}" for path in self._recent]
        choices = self.query_one(OptionList)
        choices.clear_options()
        choices.add_options([Option(Content(plain_line(name))) for name in names])


def expand(path: str) -> str:
    """Return a path with its tilde resolved; unlike pathlib this never raises."""
    return os.path.expanduser(path)  # noqa: PTH111


def is_session(path: str) -> bool:
    """Return whether a path is meant as a session rather than a picture."""
    return path.lower().endswith(SESSION_ENDING)


def _is_file(path: str) -> bool:
    try:
        return Path(path).is_file()
    except (OSError, ValueError):
        return False


def _is_ours(name: str) -> bool:
    ending = Path(name).suffix.lower()
    return ending in PICTURE_ENDINGS or ending == SESSION_ENDING


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False
