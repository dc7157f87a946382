"""What one column, caption or mark of a screen means, shown beside it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.geometry import Offset
from textual.screen import ModalScreen, Screen
from textual.widgets import Static

from tui.actions.keymap import Keymap
from tui.text.show import plain_line
from tui.views.help.help import Help
from tui.widgets.captions import put_subtitle, put_title
from tui.widgets.explaining import Explained, Kind, at_cursor, each_once, explained_on

_WIDTH: Final = 62
_FRAME: Final = 2
"""Cells and lines of the box besides its text."""
_RIGHT: Final = 3
"""The number of the right button of a mouse."""


class Explanation(ModalScreen[None]):
    """Marks what it explains, and says what that stands for; arrow keys go through the others of
    the screen below."""

    AUTO_FOCUS = ""
    CSS = """
    Explanation { background: transparent; align: left top; }
    Explanation .mark {
        position: absolute; width: auto; height: 1; background: $primary; color: $background;
    }
    Explanation .meaning {
        position: absolute; height: auto; border: round $primary; background: $background;
        border-title-color: $primary; border-subtitle-color: $faint; padding: 0 1;
    }
    Explanation.-ascii .meaning { border: ascii $primary; }
    Explanation .meaning Static { width: 100%; height: auto; }
    """
    IS_EXPLAINED: ClassVar[bool] = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,enter,backslash,f8", "dismiss", show=False),
        Binding("right,down,l,j,tab", "step(1)", show=False, priority=True),
        Binding("left,up,h,k,shift+tab", "step(-1)", show=False, priority=True),
        Binding("question_mark", "all", show=False),
    ]

    def __init__(
        self, found: Sequence[Explained], first: Explained, keymap: Keymap, *, ascii_only: bool
    ) -> None:
        """`found` is everything on the screen below that stands for something, of which `first` is
        explained first."""
        super().__init__()
        self._found = found
        self._steps = each_once(found)
        self._here = first
        self._keymap = keymap
        self._ascii = ascii_only
        self.set_class(ascii_only, "-ascii")

    def compose(self) -> ComposeResult:
        """Lay out the mark and the box; they are placed when they are shown."""
        yield Static(classes="mark", markup=False)
        with Vertical(classes="meaning"):
            yield Static(markup=False)

    def on_mount(self) -> None:
        """Explain the first."""
        self._show()

    @property
    def here(self) -> Explained:
        """What is explained now."""
        return self._here

    @property
    def count(self) -> int:
        """How many there are to go through."""
        return len(self._steps)

    def action_step(self, step: int) -> None:
        """Go to the next or the previous one, in a circle."""
        self._here = self._steps[(self._at + step) % len(self._steps)]
        self._show()

    def action_all(self) -> None:
        """Show every term of the screen below in place of this one."""
        terms = {each.term.word for each in self._steps}
        app, shown = self.app, Help(self._keymap, terms=terms, ascii_only=self._ascii)
        self.dismiss()
        app.push_screen(shown)

    def on_click(self, event: events.Click) -> None:
        """Explain what is clicked; a click elsewhere closes this."""
        event.stop()
        if self.query_one(".meaning").region.contains_point(event.screen_offset):
            return
        clicked = _under(self._found, event.screen_offset, marks=True)
        if clicked is None:
            self.dismiss()
        else:
            self._here = clicked
            self._show()

    def on_resize(self, event: events.Resize) -> None:
        """Close: what it stands beside has moved."""
        if self._drawn_for is None:
            self._drawn_for = (event.size.width, event.size.height)
        elif self._drawn_for != (event.size.width, event.size.height):
            self.dismiss()

    _drawn_for: tuple[int, int] | None = None

    @property
    def _at(self) -> int:
        """The place of what is explained among those that the keys go through."""
        return [each.key for each in self._steps].index(self._here.key)

    def _show(self) -> None:
        here, size = self._here, self.app.size
        mark, box = self.query_one(".mark", Static), self.query_one(".meaning", Vertical)
        mark.update(Content(here.text))
        mark.styles.offset = (here.region.x, here.region.y)
        term = plain_line(here.term.word, ascii_only=self._ascii)
        text = plain_line(here.term.meaning, ascii_only=self._ascii)
        width = min(_WIDTH, size.width - 2)
        lines = len(Content(text).wrap(width - 2 * _FRAME)) + _FRAME
        below = here.region.y + 1
        y = below if below + lines <= size.height else max(here.region.y - lines, 0)
        x = min(here.region.x, max(size.width - width, 0))
        box.styles.width, box.styles.offset = width, (x, y)
        put_title(box, term if term == here.text else f"{here.text}: {term}")
        keys = "arrows others, ? all, q closes" if self.count > 1 else "? help, q closes"
        put_subtitle(box, f"{self._at + 1} of {self.count}, {keys}")
        self.query_one(".meaning Static", Static).update(Content(text))


def explanation_of(
    screen: Screen[object], keymap: Keymap, *, ascii_only: bool
) -> Explanation | None:
    """Return an explanation of what stands under the cursor of a screen; None if nothing on it is
    explained."""
    found = explained_on(screen)
    first = at_cursor(screen, found)
    return None if first is None else Explanation(found, first, keymap, ascii_only=ascii_only)


def explanation_of_click(
    screen: Screen[object], event: events.Click, keymap: Keymap, *, ascii_only: bool
) -> Explanation | None:
    """Return an explanation of what is clicked; None if nothing there is explained. A click of the
    left button beside data means the data."""
    at = event.screen_offset
    first = _under(explained_on(screen, at.y), at, marks=event.button == _RIGHT)
    if first is None:
        return None
    return Explanation(explained_on(screen), first, keymap, ascii_only=ascii_only)


def _under(found: Sequence[Explained], at: Offset, *, marks: bool) -> Explained | None:
    """Return what is at a place; of marks only with `marks`."""
    return next(
        (
            each
            for each in found
            if each.region.contains_point(at) and (marks or each.kind is not Kind.MARKS)
        ),
        None,
    )
