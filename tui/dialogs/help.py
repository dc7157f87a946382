"""The help screen, made from the registry of actions."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from tui.actions import ACTIONS, GROUPS, Scope, key_names

_READING = (
    "Each row is what the model would say if it stopped after that layer: the residual stream "
    "taken through the model's own final norm and output head. Row 0 (emb) is the embedding; the "
    "last row (out) is the model's own answer, and with the norm off still is (own).",
    "The dot marks the first layer from which the answer stays top-1; the line goes on to the "
    "end. The answer is coloured wherever it appears. Entropy is in nats.",
    "A caveat: a middle layer need not use the output's space. What the lens shows there is what "
    "the output head makes of it, not what the layer 'means'.",
    "Proof: the lens computes the last row by the same code as all others and compares it with "
    "the logits that the model returned. If they differ, the run is struck out.",
)


class Help(ModalScreen[None]):
    """Every key, and how to read the table."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,question_mark,enter", "dismiss", show=False),
        Binding("j,down", "scroll(1)", show=False),
        Binding("k,up", "scroll(-1)", show=False),
    ]

    def __init__(self, *, ascii_only: bool) -> None:
        super().__init__()
        self._ascii = ascii_only

    def compose(self) -> ComposeResult:
        """Lay out keys and explanation in one scrolling box."""
        with VerticalScroll(classes="dialog wide-dialog") as box:
            box.border_title = "help"
            box.border_subtitle = "esc closes"
            yield Static(self._text(), markup=False)

    def action_scroll(self, step: int) -> None:
        """Scroll by lines, without animation."""
        self.query_one(VerticalScroll).scroll_relative(y=step, animate=False)

    def _text(self) -> Content:
        parts: list[Content | str | tuple[str, str]] = []
        for group in GROUPS:
            parts.append((f"{group}\n", "bold $primary"))
            for action in ACTIONS:
                if action.group == group:
                    keys = key_names(action, ascii_only=self._ascii)
                    parts.append((f"  {keys:<20}", "$answer"))
                    parts.append((f"{action.title}\n", "$foreground"))
            parts.append("\n")
        parts.append(("How to read the table\n", "bold $primary"))
        parts += [(f"{paragraph}\n\n", "$foreground") for paragraph in _READING]
        parts.append(("Letters act outside the editor only. ", "$faint"))
        parts.append((f"{_table_keys()} act while the table has the focus.", "$faint"))
        return Content.assemble(*parts)


def _table_keys() -> str:
    return ", ".join(
        action.keys[-1] for action in ACTIONS if action.scope is Scope.TABLE and action.keys[-1]
    )
