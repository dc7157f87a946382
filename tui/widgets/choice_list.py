"""A list of options that draws only what has changed, because dialogs must work on slow lines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

from textual.events import MouseMove
from textual.geometry import Region
from textual.reactive import reactive
from textual.strip import Strip
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from tui.widgets.strips import redraw_changes


class ChoiceList(OptionList, can_focus=False):
    """Never takes the focus: the user types into the line above it."""

    DEFAULT_CSS = """
    ChoiceList {
        /* Always visible: if it came and went, the dialog would be laid out again. */
        overflow-y: scroll;
    }
    """

    highlighted = reactive[int | None](None, repaint=False)
    _draws_all = True

    def __init__(self) -> None:
        super().__init__(compact=True, markup=False)

    def put(self, options: Sequence[Option], highlighted: int | None) -> None:
        """Replace the options."""
        before, top = self._picture(), self.scroll_offset.y
        self._draws_all = False
        self.clear_options()
        self.add_options(options)
        self.highlighted = highlighted
        self._update_lines()
        self._draws_all = True
        if self.scroll_offset.y != top:
            self.refresh()
        else:
            redraw_changes(self, before, self._picture())

    def move(self, highlighted: int) -> None:
        """Move the cursor."""
        before, top = self._picture(), self.scroll_offset.y
        self.highlighted = highlighted
        if self.scroll_offset.y == top:
            redraw_changes(self, before, self._picture())

    def step(self, step: int) -> None:
        """Move the cursor by that many options that can be chosen, at most to the first or last."""
        places = [index for index, option in enumerate(self.options) if not option.disabled]
        if not places:
            return
        here = self.highlighted
        place = places.index(here) if here in places else -1 if step > 0 else len(places)
        self.move(places[min(max(place + step, 0), len(places) - 1)])

    def refresh(
        self,
        *regions: Region,
        repaint: bool = True,
        layout: bool = False,
        recompose: bool = False,
    ) -> Self:
        """Draw again, except while the options are being replaced."""
        if not self._draws_all:
            return self
        return super().refresh(*regions, repaint=repaint, layout=layout, recompose=recompose)

    def _picture(self) -> list[Strip]:
        return [self.render_line(y) for y in range(self.size.height)]

    def on_mouse_move(self, event: MouseMove) -> None:
        """Ignore the mouse's movement: a hover highlight would redraw every line that it
        crosses."""
        event.prevent_default()
