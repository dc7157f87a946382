"""The dialog to track tokens over the layers: all spellings of a typed word, with their ids."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.timer import Timer
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from engine.events import Event, Spelling, SpellingsFound
from tui.text.show import display_text, plain_line
from tui.widgets.choice_list import ChoiceList
from tui.widgets.explaining import EXPLAINED
from tui.widgets.later import draw_later
from tui.widgets.line_entry import LineEntry

_REST_SECONDS = 0.15
_TOKEN = 24


@dataclass(frozen=True)
class _Entry:
    id: int
    text: str
    remark: str


class TrackDialog(ModalScreen[tuple[tuple[int, str], ...] | None]):
    """Returns the (id, text) of all tokens to track from now on, or None."""

    VIEW: ClassVar[str] = "track"
    DEFAULT_CSS = """
    TrackDialog Input {
        height: 1; border: none; background: $panel; padding: 0 1; margin: 0 0 1 0;
    }
    TrackDialog OptionList {
        height: 1fr; border: none; background: $background; scrollbar-size-vertical: 1; padding: 0;
    }
    TrackDialog Static { color: $faint; height: 1; }
    TrackDialog.-ascii OptionList { scrollbar-size-vertical: 0; }
    """
    CSS = """
    TrackDialog .dialog { width: 104; }
    TrackDialog.-ascii .dialog { border: ascii $primary; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss", show=False),
        Binding("ctrl+c", "dismiss", show=False),
        Binding("down", "move(1)", show=False),
        Binding("up", "move(-1)", show=False),
        Binding("tab", "mark", show=False, priority=True),
    ]

    def __init__(
        self,
        tracked: Sequence[tuple[int, str]],
        ask: Callable[[str], None],
        *,
        reason: str,
        ascii_only: bool,
        known: Mapping[int, str] | None = None,
    ) -> None:
        """`ask` requests the tokens that can spell a typed word; `reason` says why only tokens
        that are already tracked can be chosen, if that is so; `known` says what is known of the
        way of tokens through the rows."""
        super().__init__()
        self._ask = ask
        self._tracked = dict(tracked)
        self._known = dict(known or {})
        self._marked = dict(tracked)
        self._reason = reason
        self._ascii = ascii_only
        self._spellings: dict[str, tuple[Spelling, ...]] = {}
        self._entries: list[_Entry] = []
        self._rest: Timer | None = None
        self._moved = False
        """Whether the highlight has been moved since the last typing; it then stays on its
        token."""
        self.set_class(ascii_only, "-ascii")

    def compose(self) -> ComposeResult:
        """Lay out the line and the list of tokens."""
        with Vertical(classes="dialog") as box:
            box.border_title = "track tokens"
            box.border_subtitle = "tab marks, enter takes, esc closes"
            yield LineEntry(compact=True, placeholder="cube, square, #1234")
            yield ChoiceList()
            yield Static(classes=EXPLAINED, markup=False)

    def on_mount(self) -> None:
        """List the tracked tokens."""
        self.query_one(Input).cursor_blink = False

    def on_resize(self) -> None:
        """Fit the list to the new size."""
        draw_later(self, self._list)

    def hear(self, events: Sequence[Event]) -> None:
        """Show the tokens that can spell a word."""
        found = [event for event in events if isinstance(event, SpellingsFound)]
        self._spellings.update((event.typed, event.spellings) for event in found)
        if found:
            self._list()

    @property
    def _words(self) -> list[str]:
        typed = self.query_one(Input).value
        # A single comma is a token, too.
        words = [typed] if typed.strip() == "," else typed.split(",")
        return [word.strip() for word in words if word.strip()]

    @on(Input.Changed)
    def _typed(self, event: Input.Changed) -> None:
        if event.value != event.input.value:
            return  # in a burst of typing only the last text counts
        if self._rest is not None:
            self._rest.stop()
        self._rest = self.set_timer(_REST_SECONDS, self._want)
        self._moved = False
        self._list()

    @property
    def _unanswered(self) -> list[str]:
        return [] if self._reason else [w for w in self._words if w not in self._spellings]

    def _want(self) -> None:
        for word in self._unanswered:
            self._ask(word)

    def action_move(self, step: int) -> None:
        """Move the highlight while the line keeps the focus."""
        if self._entries:
            self.query_one(ChoiceList).step(step)
            self._moved = True
            self._say(self._remark(self._words))

    def action_mark(self) -> None:
        """Mark or unmark the highlighted token."""
        index = self.query_one(ChoiceList).highlighted
        if index is not None and index < len(self._entries):
            self._toggle(self._entries[index])

    @on(OptionList.OptionSelected)
    def _clicked(self, event: OptionList.OptionSelected) -> None:
        self._toggle(self._entries[event.option_index])

    @on(Input.Submitted)
    def _taken(self) -> None:
        self._list()
        index = self.query_one(ChoiceList).highlighted
        nothing_marked = self._marked.keys() == self._tracked.keys()
        if nothing_marked and self._unanswered:
            return  # the list does not show what was typed yet
        if self._words and nothing_marked and self._moved:
            if index is not None and index < len(self._entries):
                entry = self._entries[index]
                self._marked[entry.id] = entry.text
        elif nothing_marked:
            self._marked |= self._best()
        self.dismiss(tuple(self._marked.items()))

    def _best(self) -> dict[int, str]:
        """Return the most likely spelling of every word typed, id -> text."""
        found = [self._spellings.get(word, ())[:1] for word in self._words]
        return {best.id: best.text for spellings in found for best in spellings}

    def _toggle(self, entry: _Entry) -> None:
        self._moved = True
        if entry.id in self._marked:
            del self._marked[entry.id]
        else:
            self._marked[entry.id] = entry.text
        self._list()

    def _list(self) -> None:
        words = self._words
        entries: dict[int, _Entry] = {}
        for word in words:
            for found in self._spellings.get(word, ()):
                typed = display_text(found.typed, ascii_only=self._ascii)
                remark = "whole token" if found.whole else f"first piece of {typed}"
                remark = self._known.get(found.id, remark)
                entries.setdefault(found.id, _Entry(found.id, found.text, remark))
        for token, text in {**self._tracked, **self._marked}.items():
            remark = self._known.get(token, "tracked" if token in self._tracked else "")
            entries.setdefault(token, _Entry(token, text, remark))
        choices = self.query_one(ChoiceList)
        here = choices.highlighted
        before = self._entries[here].id if here is not None and self._moved else None
        self._entries = list(entries.values())
        ids = [entry.id for entry in self._entries]
        place = ids.index(before) if before in ids else 0 if ids else None
        choices.put([Option(self._line(entry)) for entry in self._entries], place)
        self._say(self._remark(words))

    def _say(self, text: str) -> None:
        self.query_one(Static).update(Content(text), layout=False)

    @property
    def _way(self) -> str:
        """What is known of the highlighted token's way through the rows."""
        index = self.query_one(ChoiceList).highlighted
        if index is None or index >= len(self._entries):
            return ""
        return self._known.get(self._entries[index].id, "")

    def _remark(self, words: list[str]) -> str:
        if self._reason:
            return plain_line(self._reason, ascii_only=self._ascii)
        if self._unanswered:
            return "looking for its tokens"
        unknown = [word for word in words if self._spellings.get(word) == ()]
        if unknown:
            named = ", ".join(plain_line(word, ascii_only=self._ascii) for word in unknown)
            return f"no token begins like this: {named}"
        best = [token for token in self._best() if token not in self._tracked]
        if self._way and (self._moved or not words):
            return self._way
        if not words:
            return "type words, with commas between: the best spelling of each is tracked"
        if len(best) < 2 or self._moved or self._marked.keys() != self._tracked.keys():
            return ""
        return f"enter tracks {len(best)} tokens: the best spelling of each word"

    def _line(self, entry: _Entry) -> Content:
        on, off = ("[x]", "[ ]") if self._ascii else ("●", "○")
        mark = on if entry.id in self._marked else off
        shown = display_text(entry.text, _TOKEN, ascii_only=self._ascii)
        room = self.query_one(ChoiceList).size.width - _TOKEN - 17
        remark = display_text(entry.remark, max(room, 8), spaces=False, ascii_only=self._ascii)
        return Content.assemble(
            (f" {mark} ", "$primary"),
            (f"{shown} ", "$foreground"),
            (f"{entry.id:>8}  {remark}", "$faint"),
        )
