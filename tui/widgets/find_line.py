"""The line in which a token to find is typed; visible only while it is used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.message import Message
from textual.widgets import Input, Static

from tui.widgets.line_entry import LineEntry


class FindLine(Horizontal):
    """Shows a slash and an input."""

    DEFAULT_CSS = """
    FindLine {
        display: none;
        width: 100%;
        height: 1;
    }
    FindLine.-open { display: block; }
    FindLine Static { width: 3; color: $primary; }
    FindLine Input {
        width: 1fr;
        height: 1;
        border: none;
        padding: 0;
        background: $background;
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "close(False)", show=False, priority=True)
    ]

    @dataclass
    class Typed(Message):
        """The text to find has changed."""

        wanted: str

    @dataclass
    class Closed(Message):
        """The line has closed; `kept` says whether the marks stay."""

        kept: bool

    def __init__(self) -> None:
        super().__init__(id="find")

    def compose(self) -> ComposeResult:
        """Lay out the slash and the input."""
        yield Static(" /", markup=False)
        line = LineEntry(compact=True, select_on_focus=True)
        line.cursor_blink = False
        yield line

    def open(self) -> None:
        """Show the line and focus it."""
        self.add_class("-open")
        # Focus immediately: after `focus()` a quickly typed key would act as a command.
        self.screen.set_focus(self.query_one(Input))

    @property
    def is_open(self) -> bool:
        """Whether the line is visible."""
        return self.has_class("-open")

    def action_close(self, kept: bool) -> None:
        """Hide the line."""
        self.remove_class("-open")
        self.post_message(self.Closed(kept))

    @on(Input.Changed)
    def _changed(self, event: Input.Changed) -> None:
        event.stop()
        # In a burst of typing only the last text is looked for.
        if self.is_open and event.value == event.input.value:
            self.post_message(self.Typed(event.value))

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.action_close(bool(event.value))
