"""The dialog to choose the optional columns of the table."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import OptionList

from tui.state.columns import FIGURE_COLUMNS, in_order


class ColumnChooser(ModalScreen[tuple[str, ...] | None]):
    """Returns the names of the chosen columns in order, or None."""

    DEFAULT_CSS = """
    ColumnChooser OptionList {
        height: auto; border: none; background: $background; padding: 0;
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,C", "dismiss", show=False),
        Binding("enter", "take", show=False, priority=True),
        Binding("space", "switch", show=False, priority=True),
        Binding("j", "move(1)", show=False),
        Binding("k", "move(-1)", show=False),
    ]

    def __init__(self, chosen: tuple[str, ...], *, ascii_only: bool) -> None:
        super().__init__()
        self._chosen = set(chosen)
        self._signs = ("[x]", "[ ]") if ascii_only else ("●", "○")
        self.set_class(ascii_only, "-ascii")

    def compose(self) -> ComposeResult:
        """Lay out one line per column."""
        with Vertical(classes="dialog short-dialog") as box:
            box.border_title = "columns"
            box.border_subtitle = "space switches, enter takes them, esc closes"
            yield OptionList(*self._lines(), compact=True)

    def action_move(self, step: int) -> None:
        """Move the highlight by lines."""
        choices = self.query_one(OptionList)
        (choices.action_cursor_down if step > 0 else choices.action_cursor_up)()

    def action_switch(self) -> None:
        """Switch the highlighted column on or off."""
        self._switch(self.query_one(OptionList).highlighted)

    @on(OptionList.OptionSelected)
    def _clicked(self, event: OptionList.OptionSelected) -> None:
        self._switch(event.option_index)

    def action_take(self) -> None:
        """Close with the chosen columns."""
        self.dismiss(in_order(self._chosen))

    def _switch(self, index: int | None) -> None:
        if index is None:
            return
        self._chosen ^= {list(FIGURE_COLUMNS)[index]}
        choices = self.query_one(OptionList)
        choices.replace_option_prompt_at_index(index, self._lines()[index])

    def _lines(self) -> list[Content]:
        on, off = self._signs
        return [
            Content.assemble(
                (f" {on if name in self._chosen else off} ", "$primary"),
                (f"{name:<9}", "$foreground"),
                (column.meaning, "$faint"),
            )
            for name, column in FIGURE_COLUMNS.items()
        ]
