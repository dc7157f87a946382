"""Choosing which figures have a column in the table."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import SelectionList
from textual.widgets.selection_list import Selection

from tui.state.column_names import COLUMN_NAMES


class ColumnChooser(ModalScreen[tuple[str, ...] | None]):
    """Returns the chosen columns in their order, or None."""

    DEFAULT_CSS = """
    ColumnChooser { align: center middle; background: $background 60%; }
    ColumnChooser .dialog { height: auto; }
    ColumnChooser SelectionList {
        height: auto;
        border: none;
        background: $background;
        padding: 0;
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,C", "dismiss", show=False),
        Binding("enter", "take", show=False, priority=True),
        Binding("j", "move(1)", show=False),
        Binding("k", "move(-1)", show=False),
    ]

    def __init__(self, chosen: tuple[str, ...], *, ascii_only: bool) -> None:
        super().__init__()
        self._chosen = chosen
        self.set_class(ascii_only, "-ascii")

    def compose(self) -> ComposeResult:
        """One line a column."""
        with Vertical(classes="dialog") as box:
            box.border_title = "columns"
            box.border_subtitle = "space switches, enter takes them, esc closes"
            yield SelectionList[str](
                *(
                    Selection(f"{name:<9} {meaning}", name, name in self._chosen)
                    for name, meaning in COLUMN_NAMES.items()
                ),
                compact=True,
            )

    def action_move(self, step: int) -> None:
        """Move by lines."""
        choices = self.query_one(SelectionList)
        (choices.action_cursor_down if step > 0 else choices.action_cursor_up)()

    def action_take(self) -> None:
        """Close with what is chosen."""
        chosen = set(self.query_one(SelectionList).selected)
        self.dismiss(tuple(name for name in COLUMN_NAMES if name in chosen))
