"""The export dialog: which format, which file."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from tui.sharing.exporting import suggested_stem
from tui.sharing.formats import FORMATS, Format
from tui.state.run_view import RunView
from tui.text.show import display_text, plain_line, stand_in_text
from tui.views.files.wanted_file import WantedFile
from tui.widgets.captions import put_title
from tui.widgets.line_entry import LineEntry
from tui.widgets.places import title_words

_ENDINGS = frozenset(export.ending for export in FORMATS)
_MOST_NAME = 40
_NAMES = max(len(export.name) for export in FORMATS)


class FormatList(OptionList, inherit_bindings=False):
    """Leaves the keys to the dialog: they mean the same in the line of the name."""


class ExportDialog(ModalScreen[tuple[str, Path] | None]):
    """Returns the name of one of `FORMATS` and the file, or None. If the file exists, the user
    has confirmed replacing it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss", show=False),
        Binding("ctrl+c", "dismiss", show=False),
        # In the line of the name, j and k are letters of it.
        Binding("j,down", "move(1)", show=False),
        Binding("k,up", "move(-1)", show=False),
        Binding("enter", "take", show=False),
    ]
    CSS = """
    ExportDialog .dialog { height: auto; }
    ExportDialog.-ascii .dialog { border: ascii $primary; }
    ExportDialog OptionList {
        height: auto; max-height: 16; border: none; background: $background; padding: 0;
    }
    ExportDialog Input { height: 1; border: none; background: $panel; padding: 0 1; }
    ExportDialog Static { height: 1; color: $faint; margin: 1 0 0 0; }
    """

    def __init__(self, run: RunView, folder: Path, *, ascii_only: bool) -> None:
        super().__init__()
        self._run = run
        self._file = WantedFile(folder)
        self._ascii = ascii_only
        self.set_class(ascii_only, "-ascii")

    def compose(self) -> ComposeResult:
        """Lay out the formats, the file's name and a line that says what happens."""
        with Vertical(classes="dialog") as box:
            name = display_text(self._run.name, _MOST_NAME, spaces=False, ascii_only=self._ascii)
            what = " ".join(["export", title_words(self._run, self._run.run.position)]).rstrip()
            put_title(box, f"{what}: {name.rstrip()}")
            box.border_subtitle = "jk choose, tab edits the name, enter exports, esc closes"
            yield FormatList(
                *(Option(Content(f"{each.name:<{_NAMES}}  {each.title}")) for each in FORMATS),
                compact=True,
                markup=False,
            )
            yield Static(markup=False)
            first = suggested_stem(self._run.name) + FORMATS[0].ending
            yield LineEntry(first, select_on_focus=False, compact=True)

    def on_mount(self) -> None:
        """Focus the formats; tab goes to the file's name and back."""
        choices, line = self.query_one(OptionList), self.query_one(Input)
        choices.highlighted = 0
        line.cursor_blink = False
        line.cursor_position = len(line.value)
        choices.focus()

    def action_move(self, step: int) -> None:
        """Choose another format."""
        choices = self.query_one(OptionList)
        here = choices.highlighted or 0
        choices.highlighted = min(max(here + step, 0), len(FORMATS) - 1)

    @on(OptionList.OptionHighlighted)
    def _format_chosen(self) -> None:
        """Change the file's extension to the format's, unless the user has typed another."""
        line = self.query_one(Input)
        ending = Path(line.value).suffix
        if ending in _ENDINGS:
            line.value = line.value[: -len(ending)] + self._chosen.ending
            line.cursor_position = len(line.value)
        self._say_where()

    @on(Input.Changed)
    def _typed(self, event: Input.Changed) -> None:
        """Make pasted text safe: it may contain characters that control the terminal."""
        self._file.changed()
        safe = stand_in_text(event.value)
        if safe != event.value:
            event.input.value = safe
        self._say_where()

    @on(Input.Submitted)
    def action_take(self) -> None:
        """Close with the format and the file, unless the file cannot be written or exists."""
        typed = self.query_one(Input).value
        objection = self._file.objection(typed)
        if objection:
            self._say(objection)
        else:
            self.dismiss((self._chosen.name, self._file.path(typed)))

    @property
    def _chosen(self) -> Format:
        return FORMATS[self.query_one(OptionList).highlighted or 0]

    def _say_where(self) -> None:
        folder = plain_line(str(self._file.folder), ascii_only=self._ascii)
        self._say(f"to this file, in {folder}")

    def _say(self, text: str) -> None:
        self.query_one(Static).update(Content(text))
