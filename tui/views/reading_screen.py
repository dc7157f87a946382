"""What the screens share that show readings of one run, and ask for more of them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, Final, Generic, Protocol, TypeVar

from textual.binding import Binding, BindingType
from textual.screen import ModalScreen
from textual.timer import Timer

from engine.errors import LenscopeError
from engine.events import Event, ReadingMade
from engine.methods.geometry import GeometryReading, GeometryRequest
from tui.state.explained import TOO_MANY, typed_words
from tui.state.run_view import RunView
from tui.text.show import plain_line
from tui.widgets.asking import Asking
from tui.widgets.half_blocks import Colours
from tui.widgets.later import draw_later
from tui.widgets.legend import Legend
from tui.widgets.line_input import LineInput
from tui.widgets.patch_pane import PatchPane
from tui.widgets.picture_canvas import PictureCanvas
from tui.widgets.view_context import ViewContext

_REST: Final = 0.3
"""Seconds for which the cursor must rest before what is not known is read: each is a pass or
many."""
_HEIGHTS: Final = [(0, "-h-low"), (20, "-h-middle"), (30, "-h-high")]
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
    VERTICAL_BREAKPOINTS = _HEIGHTS
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
        self._rest: Timer | None = None
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

    def action_copy(self) -> None:
        """Copy the tables of what has been read."""
        app: Any = self.app
        app.do("copy-table")

    def ask_words(
        self,
        title: str,
        keys: str,
        of: Sequence[str],
        take: Callable[[tuple[str, ...]], None],
        refuse: Callable[[str], None],
    ) -> None:
        """Ask for a word, or for two whose difference is meant; for none, the answer is. `of` are
        those so far; what is typed is handed to `take`, and what cannot be taken is told by
        `refuse`."""

        def typed(line: str | None) -> None:
            words = typed_words(line or "")
            if len(words) > 2:
                refuse(TOO_MANY)
            elif line is not None:
                take(words)

        entry = LineInput(title, ",".join(of), keys=keys, ascii_only=self._ascii)
        self.app.push_screen(entry, typed)

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

    def _once_it_rests(self, act: Callable[[], None] | None) -> None:
        """Do something once the cursor rests, in place of what was to be done then."""
        if self._rest is not None:
            self._rest.stop()
        self._rest = None if act is None else self.set_timer(_REST, act)


class LookedAt(Protocol):
    """A run that is looked at, and what is known of it."""

    @property
    def run(self) -> RunView:
        """The run."""

    def take_stored(self) -> None:
        """Take what the run holds. Raises BadInput if a reading is damaged."""

    def place_patches(self, reading: GeometryReading) -> None:
        """Take the patches. Raises BadInput if they are damaged."""


class PatchScreen(ReadingScreen[AskingT]):
    """Has the picture with its patches beside what is read."""

    def __init__(
        self,
        asking: AskingT,
        looked_at: LookedAt,
        context: ViewContext,
        keys: Sequence[str],
        colours: Colours,
    ) -> None:
        """`keys` are told below."""
        super().__init__(asking, context)
        self._looked_at = looked_at
        self._damage = ""
        """What is wrong with a reading or the picture; safe for display."""
        self.pane = PatchPane(colours=colours, ascii_only=self._ascii)
        self.legend = Legend(keys, ascii_only=self._ascii, marks=self.pane.marks_only)

    def on_picture_canvas_refused(self, message: PictureCanvas.Refused) -> None:
        """Show marks in place of a picture that cannot be shown."""
        message.stop()
        self.pane.show_marks()
        self._damage = plain_line(f"no picture: {message.error}", ascii_only=self._ascii)
        self.legend.use_marks()
        self.show()

    def on_mount(self) -> None:
        """Open the picture in the background, and request what is not known."""
        self.pane.open(self._looked_at.run.run.question.picture)
        self._begin()
        self.show()

    def _begin(self) -> None:
        """Take the readings that the run holds, and request the others."""
        self._find_patches(self._looked_at.run)
        with self._undamaged():
            self._looked_at.take_stored()
        self._want()

    @abstractmethod
    def _want(self) -> None:
        """Request what is shown and not known."""

    def _place(self, reading: GeometryReading) -> None:
        """Take the patches."""
        with self._undamaged():
            self._looked_at.place_patches(reading)

    def _find_patches(self, run: RunView) -> None:
        """Take the patches that the run holds, or request them if it has a picture."""
        known = run.reading_of("geometry")
        if isinstance(known, GeometryReading):
            self._place(known)
        elif any(token.kind == "image" for token in run.run.tokens):
            self._asking.ask(GeometryRequest())

    @contextmanager
    def _undamaged(self) -> Iterator[None]:
        """Turn an error about damaged data into the message that is shown."""
        try:
            yield
        except LenscopeError as error:
            self._damage = plain_line(str(error), ascii_only=self._ascii)
