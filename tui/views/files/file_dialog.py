"""The dialog to open a picture or a session: a path is typed, and the folder's entries are
listed."""

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
from textual.message import Message
from textual.screen import ModalScreen
from textual.timer import Timer
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from engine.records import Picture
from tui.disk.paths import short_path
from tui.text.show import plain_line
from tui.views.files.folder_lister import (
    PICTURE_ENDINGS,
    SESSION_ENDINGS,
    FolderLister,
    expand,
)
from tui.views.picture.preview import Preview
from tui.widgets.choice_list import ChoiceList
from tui.widgets.half_blocks import Colours
from tui.widgets.line_entry import LineEntry

_REST_SECONDS = 0.15
_PREVIEW_FROM = 80
"""The screen's width in cells from which the preview is shown."""


class FileDialog(ModalScreen[str | None]):
    """Returns the chosen path, or None."""

    DEFAULT_CSS = """
    FileDialog Horizontal { height: 1fr; }
    FileDialog OptionList { width: 1fr; }
    FileDialog Static { height: 1; color: $faint; }
    FileDialog #peek { width: 32; height: 100%; border: round $frame; display: none; }
    FileDialog #peek { border-title-color: $faint; border-subtitle-color: $faint; }
    FileDialog.-peeks #peek { display: block; }
    FileDialog.-ascii OptionList { scrollbar-size-vertical: 0; }
    """
    CSS = """
    FileDialog.-ascii .dialog { border: ascii $primary; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss", show=False),
        # ctrl+c cancels here as everywhere, so that esc is not the only way out.
        Binding("ctrl+c", "dismiss", show=False),
        # These have no priority, so that keys act in the order in which they were typed.
        Binding("tab", "complete", show=False),
        Binding("down", "move(1)", show=False),
        Binding("up", "move(-1)", show=False),
    ]

    class MoreListed(Message):
        """All entries of a large folder are known."""

    def __init__(
        self,
        start: str,
        *,
        recent: Sequence[str] = (),
        preview: bool = True,
        colours: Colours = Colours.FINE,
        ascii_only: bool = False,
    ) -> None:
        """`recent` pictures are offered before anything has been typed."""
        super().__init__()
        self._start = start
        self._recent = [path for path in recent if _is_file(path)]
        self._previews = preview and not ascii_only
        self._colours = colours
        self._ascii = ascii_only
        self._entries: list[str] = []
        self._lister = FolderLister(lambda: self.post_message(self.MoreListed()))
        self._lines: list[str | None] = []
        """The path of each line in the list; None for a heading."""
        self._listed: str | None = None
        self._peeked = ""
        self._rest: Timer | None = None
        self.set_class(ascii_only, "-ascii")

    def compose(self) -> ComposeResult:
        """Lay out the line, the entries, and facts about the one under the cursor."""
        with Vertical(classes="dialog") as box:
            box.border_title = "open a picture or a session"
            box.border_subtitle = "tab completes, enter opens, esc closes"
            yield LineEntry(self._start, select_on_focus=False, compact=True)
            with Horizontal():
                yield ChoiceList()
                yield Preview(colours=self._colours, identity="peek")
            yield Static(markup=False)

    def on_mount(self) -> None:
        """List the entries of the folder."""
        entry = self.query_one(Input)
        entry.cursor_blink = False
        entry.cursor_position = len(self._start)
        self._list(self._start)

    def on_file_dialog_more_listed(self) -> None:
        """List again, now that all entries of a large folder are known; the highlight stays."""
        under_cursor, self._listed = self._under_cursor, None
        self._list(self.query_one(Input).value)
        if under_cursor in self._lines:
            self.query_one(ChoiceList).move(self._lines.index(under_cursor))

    def on_resize(self) -> None:
        """Show a preview if it fits."""
        self.set_class(self._previews and self.app.size.width >= _PREVIEW_FROM, "-peeks")

    @on(Input.Changed)
    def _typed(self, event: Input.Changed) -> None:
        self._list(event.input.value)

    @on(Input.Submitted)
    def _chosen(self, event: Input.Submitted) -> None:
        self._list(event.value)
        self._take(self._under_cursor or event.value)

    @on(OptionList.OptionSelected)
    def _clicked(self, event: OptionList.OptionSelected) -> None:
        self._take(self._lines[event.option_index] or "")

    @on(OptionList.OptionHighlighted)
    def _highlighted(self) -> None:
        self._peek_at_rest()

    def action_move(self, step: int) -> None:
        """Move the highlight while the line keeps the focus."""
        self._list(self.query_one(Input).value)
        self.query_one(ChoiceList).step(step)

    def action_complete(self) -> None:
        """Put the highlighted entry into the line, or else the common prefix of all entries."""
        self._list(self.query_one(Input).value)
        if self._under_cursor:
            self._put(self._under_cursor)
        elif self._entries:
            common = os.path.commonprefix(self._entries)  # noqa: RUF071, letters are what is typed
            if len(common) > len(self.query_one(Input).value):
                self._put(common)

    # ------------------------------------------------------------------ preview

    def _peek_at_rest(self) -> None:
        """Preview the highlighted or typed picture once the user pauses."""
        if self._rest is not None:
            self._rest.stop()
        self._rest = self.set_timer(_REST_SECONDS, self._peek)

    def _peek(self) -> None:
        path = expand(self._under_cursor or self.query_one(Input).value)
        if path == self._peeked:
            return
        self._peeked = path
        size = _size_of(path)
        self._tell(file_size(size) if size is not None else "")
        preview = self.query_one(Preview)
        if size is not None and self._previews and _is_picture(path):
            preview.open(Picture(path))
        elif preview.named:
            preview.clear()

    def on_preview_opened(self, message: Preview.Opened) -> None:
        """Stop the message: previewing a picture does not choose it."""
        message.stop()
        picture = message.picture
        if picture.path == self._peeked:
            size = _size_of(picture.path) or 0
            self._tell(f"{picture.width}×{picture.height}, {file_size(size)}")

    def on_preview_refused(self, message: Preview.Refused) -> None:
        """Remove the preview of a picture that cannot be opened, and say why."""
        message.stop()
        self.query_one(Preview).clear()
        self._tell(message.error.removeprefix(f"{self._peeked}: "))

    def _tell(self, facts: str) -> None:
        shown = Content(plain_line(facts, ascii_only=self._ascii))
        self.query_one(Static).update(shown, layout=False)

    # ------------------------------------------------------------------ choosing

    @property
    def _under_cursor(self) -> str:
        index = self.query_one(ChoiceList).highlighted
        return (self._lines[index] if index is not None else None) or ""

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
        self._entries = self._lister.completions(typed)
        here: list[tuple[str | None, str]] = [
            (path, path[typed.rfind("/") + 1 :]) for path in self._entries
        ]
        if self._recent and typed == self._start:
            recent = [(path, f" {short_path(Path(path))}") for path in self._recent]
            here = [(None, "recent"), *recent, (None, "here"), *((p, f" {n}") for p, n in here)]
        self._lines = [path for path, _ in here]
        options = [self._option(path, name) for path, name in here]
        self.query_one(ChoiceList).put(options, None)
        self._peek_at_rest()

    def _option(self, path: str | None, name: str) -> Option:
        shown = plain_line(name, ascii_only=self._ascii)
        if path is None:
            return Option(Content.styled(shown, "bold $primary"), disabled=True)
        return Option(Content(shown))


def is_session(path: str) -> bool:
    """Return whether a path is that of a session, or a page with one, rather than a picture."""
    return path.lower().endswith(SESSION_ENDINGS)


def file_size(count: int) -> str:
    """Return a file size in few characters."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} B"


def _size_of(path: str) -> int | None:
    try:
        file = Path(path)
        return file.stat().st_size if file.is_file() else None
    except (OSError, ValueError):
        return None


def _is_picture(path: str) -> bool:
    return Path(path).suffix.lower() in PICTURE_ENDINGS


def _is_file(path: str) -> bool:
    try:
        return Path(path).is_file()
    except (OSError, ValueError):
        return False
