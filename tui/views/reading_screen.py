"""What the screens share that show readings of one run, and ask for more of them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Final, Generic, TypeVar

from textual.binding import Binding, BindingType
from textual.screen import ModalScreen

from engine.events import Event, ReadingMade
from tui.widgets.asking import Asking
from tui.widgets.later import draw_later
from tui.widgets.view_context import ViewContext

_WIDTHS: Final = [(0, "-w-tiny"), (70, "-w-narrow"), (100, "-w-wide"), (160, "-w-huge")]

AskingT = TypeVar("AskingT", bound=Asking)

STEPS: Final[tuple[BindingType, ...]] = (
    Binding("ctrl+d", "line(4)", show=False),
    Binding("ctrl+u", "line(-4)", show=False),
    Binding("pagedown,ctrl+f", "line(8)", show=False),
    Binding("pageup", "line(-8)", show=False),
    Binding("g,home", "edge(-1)", show=False),
    Binding("G,end", "edge(1)", show=False),
)
"""The keys that step through lines, for a screen with `action_line` and `action_edge`."""


class ReadingScreen(ModalScreen[None], Generic[AskingT]):
    """Covers the main screen, and cancels what it waits for when it is closed."""

    HORIZONTAL_BREAKPOINTS = _WIDTHS
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("r", "read_again", show=False),
        Binding("enter", "choose", show=False),
        Binding("question_mark", "help", show=False),
    ]

    def __init__(self, asking: AskingT, context: ViewContext) -> None:
        super().__init__()
        self._asking = asking
        self._shared = context
        self._ascii = context.ascii_only
        self._note = ""
        """What the last key did; safe for display."""
        self.set_class(self._ascii, "-ascii")

    def on_unmount(self) -> None:
        """Cancel what has not been answered."""
        self._asking.stop()

    def on_resize(self) -> None:
        """Fit the new size."""
        draw_later(self, self.show)

    def action_help(self) -> None:
        """Show the help."""
        from tui.views.help.help import Help

        self.app.push_screen(Help(self._shared.keymap, ascii_only=self._ascii))

    @abstractmethod
    def show(self) -> None:
        """Show everything as it is now."""

    def _heard(self, events: Sequence[Event]) -> Sequence[ReadingMade]:
        """Take events; return the readings among them. New trouble is shown in place of a note."""
        before = self._asking.trouble
        made = self._asking.hear(events)
        if self._asking.trouble != before:
            self._note = ""
        return made
