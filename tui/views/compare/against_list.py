"""The list of image replacements, each a line that appears as its run arrives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from engine.events import Event
from tui.sharing.against_table import against_lines
from tui.state.run_view import RunView
from tui.state.view_state import ViewState
from tui.text.show import plain_line
from tui.widgets.captions import put_title

_HEADING_AND_PICTURE = 2


class AgainstList(ModalScreen[None]):
    """Shows each counterfactual's answer, the probability of the picture's answer in it, and the
    row from which the two differ."""

    VIEW: ClassVar[str] = "against"
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q,A,enter", "dismiss", show=False)]

    def __init__(
        self, state: ViewState, picture: RunView, *, expected: int, ascii_only: bool
    ) -> None:
        """`expected` is the number of counterfactuals, including those still to come: the box
        has their lines from the start, so that it does not grow while they arrive."""
        super().__init__()
        self._expected = expected
        self._state = state
        self._picture = picture
        self._ascii = ascii_only
        self.set_class(ascii_only, "-ascii")

    def compose(self) -> ComposeResult:
        """Lay out the lines."""
        with Vertical(classes="dialog wide-dialog short-dialog") as box:
            title = f"instead of the picture: {self._picture.name}"
            put_title(box, plain_line(title, ascii_only=self._ascii))
            box.border_subtitle = "q closes; H lists the runs, b compares"
            lines = Static(self._lines(), markup=False)
            lines.styles.min_height = _HEADING_AND_PICTURE + self._expected
            yield lines

    def hear(self, events: Sequence[Event]) -> None:
        """Show what has arrived."""
        if self.is_mounted:
            self.query_one(Static).update(self._lines())

    def _lines(self) -> Content:
        others = self._state.counterfactuals_of(self._picture)
        runs = [self._picture.frozen(), *(other.frozen() for other in others)]
        comparisons = [
            known for known in self._state.comparisons.values() if known.of == self._picture.run.id
        ]
        lines = against_lines(runs, comparisons, ascii_only=self._ascii)
        first, *rest = lines
        return Content.assemble((first, "$faint"), *(("\n" + line, "$foreground") for line in rest))
