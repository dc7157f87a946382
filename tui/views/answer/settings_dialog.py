"""The dialog for the settings with which an answer is decoded: one line, as on the command line."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from engine.errors import LenscopeError
from engine.methods.answer import AnswerRequest
from engine.methods.registry import method_of
from engine.methods.requests import described, parse_read, request_of
from tui.text.decoding import as_pairs, decoding_words
from tui.text.show import plain_line, stand_in_text
from tui.widgets.line_entry import LineEntry

_METHOD = "answer"
_EXAMPLE = "temperature=0.7,top_p=0.9,draws=20"


class DecodingDialog(ModalScreen[AnswerRequest | None]):
    """Returns the settings of the next answer, or None."""

    VIEW: ClassVar[str] = "answer"
    CSS = """
    DecodingDialog .dialog { height: auto; }
    DecodingDialog.-ascii .dialog { border: ascii $primary; }
    DecodingDialog Input { height: 1; border: none; background: $panel; padding: 0 1; }
    DecodingDialog Static { color: $faint; height: auto; min-height: 3; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss", show=False)]

    def __init__(self, request: AnswerRequest, *, ascii_only: bool) -> None:
        super().__init__()
        self._request = request
        self._ascii = ascii_only
        self.set_class(ascii_only, "-ascii")

    def compose(self) -> ComposeResult:
        """Lay out the line, and what it means below it."""
        with Vertical(classes="dialog") as box:
            box.border_title = "how the answer is decoded"
            box.border_subtitle = "enter decodes, esc leaves it"
            yield LineEntry(
                stand_in_text(as_pairs(self._request)),
                select_on_focus=False,
                compact=True,
                placeholder=_EXAMPLE,
            )
            yield Static(markup=False)

    def on_mount(self) -> None:
        """Put the cursor at the end of the line."""
        line = self.query_one(Input)
        line.cursor_blink = False
        line.cursor_position = len(line.value)
        self._say(line.value)

    @on(Input.Changed)
    def _typed(self, event: Input.Changed) -> None:
        safe = stand_in_text(event.value)
        if safe != event.value:
            event.input.value = safe
        else:
            self._say(event.value)

    @on(Input.Submitted)
    def _taken(self, event: Input.Submitted) -> None:
        try:
            self.dismiss(decoding_of(event.value))
        except LenscopeError:
            self._say(event.value)

    def _say(self, typed: str) -> None:
        """Say what the line means, or what is wrong with it."""
        try:
            request = decoding_of(typed)
        except LenscopeError as error:
            words = plain_line(str(error), ascii_only=self._ascii)
            self.query_one(Static).update(Content.styled(words, "$error"))
            return
        fields = described(method_of(_METHOD))
        self.query_one(Static).update(
            Content.assemble(
                (decoding_words(request, ascii_only=self._ascii), "$foreground"),
                (f"\n{fields}; nothing is greedy decoding", "$faint"),
            )
        )


def decoding_of(typed: str) -> AnswerRequest:
    """Return the settings of a line such as `temperature=0.7,draws=20`. Raises BadInput for what is
    no setting, or no value of it."""
    method = method_of(_METHOD)
    settings = parse_read(f"{_METHOD}:{typed}")[1] if typed.strip() else {}
    request = request_of(method, settings)
    assert isinstance(request, AnswerRequest)
    return request
