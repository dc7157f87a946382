"""A dialog to choose one of many: a line that filters, and the matches below it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.cells import cell_len
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList
from textual.widgets.option_list import Option

from tui.text.show import display_text, plain_line
from tui.widgets.choice_list import ChoiceList
from tui.widgets.later import draw_later
from tui.widgets.line_entry import LineEntry

_MOST_SHOWN = 500
_LEAST_DETAIL = 12


@dataclass(frozen=True)
class Choice:
    """One choice."""

    value: str
    """The value that the dialog returns; empty for a remark, which cannot be chosen."""
    title: str
    detail: str = ""
    section: str = ""
    """The heading under which the choices of one section are listed."""
    words: str = ""
    """Other words by which it is found; they are not shown."""


class Chooser(ModalScreen[str | None]):
    """Returns the value of a choice, or None; with `free`, it may return the typed text instead."""

    DEFAULT_CSS = """
    Chooser Input {
        height: 1; border: none; background: $panel; padding: 0 1; margin: 0 0 1 0;
    }
    Chooser OptionList {
        height: 1fr; border: none; background: $background; scrollbar-size-vertical: 1; padding: 0;
    }
    Chooser.-ascii OptionList { scrollbar-size-vertical: 0; }
    """
    SCOPED_CSS = False  # subclasses are meant, too
    CSS = """
    Chooser.-ascii .dialog { border: ascii $primary; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss", show=False),
        # ctrl+c cancels here as everywhere, so that esc is not the only way out.
        Binding("ctrl+c", "dismiss", show=False),
        Binding("down", "move(1)", show=False),
        Binding("up", "move(-1)", show=False),
        Binding("pagedown", "move(10)", show=False),
        Binding("pageup", "move(-10)", show=False),
    ]

    def __init__(
        self,
        title: str,
        choices: Sequence[Choice],
        *,
        ascii_only: bool,
        free: str = "",
        hint: str = "",
    ) -> None:
        """With `free` the typed text is a choice, too; the word says how it is taken."""
        super().__init__()
        self._title = title
        self._choices = tuple(choices)
        self._ascii = ascii_only
        self._free = free
        self._hint = hint
        self._shown: list[Choice | None] = []
        self._listed_for: str | None = None
        self.set_class(ascii_only, "-ascii")

    def compose(self) -> ComposeResult:
        """Lay out the line and the list."""
        with Vertical(classes="dialog") as box:
            title = Content(plain_line(self._title, ascii_only=self._ascii))
            box.border_title = title  # type: ignore[assignment]
            box.border_subtitle = "type to find, enter takes, esc closes"
            yield LineEntry(compact=True, placeholder=self._hint)
            yield ChoiceList()

    def on_mount(self) -> None:
        """Focus the line, so that typing filters."""
        self.query_one(Input).cursor_blink = False

    def on_resize(self) -> None:
        """List the choices again, since details are aligned at the right edge."""
        draw_later(self, self._list)

    def put(self, choices: Iterable[Choice]) -> None:
        """Replace the choices, keeping the typed text and the highlight."""
        self._choices = tuple(choices)
        if self._listed_for is not None:
            self._list()

    def extra_choices(self, typed: str, found: Collection[str]) -> list[Choice]:
        """Return additional choices that are not in the list: the typed text itself."""
        if not self._free or typed in ("", *found):
            return []
        return [Choice(typed, typed, self._free)]

    def take(self, value: str) -> None:
        """Close with a choice, or with None if nothing is under the cursor."""
        self.dismiss(value or None)

    @property
    def typed(self) -> str:
        """The text in the line."""
        return self.query_one(Input).value

    def action_move(self, step: int) -> None:
        """Move the highlight while the line keeps the focus."""
        self._list_typed()
        self.query_one(ChoiceList).step(step)

    @on(Input.Changed)
    def _typed_more(self) -> None:
        self._list_typed()

    @on(Input.Submitted)
    def _entered(self) -> None:
        self._list_typed()
        index = self.query_one(ChoiceList).highlighted
        self.take("" if index is None else self._value(index))

    @on(OptionList.OptionSelected)
    def _clicked(self, event: OptionList.OptionSelected) -> None:
        self.take(self._value(event.option_index))

    def _list_typed(self) -> None:
        """Filter by the typed text; keys may arrive before the message that reports it."""
        if self.typed != self._listed_for:
            self._list()

    def _list(self) -> None:
        """Show the matches. The highlight stays; once more has been typed it moves to the choice
        that the text names, else to the first match."""
        typed = self.typed.strip()
        words = typed.casefold().split()
        found = best_first(self._choices, words)[:_MOST_SHOWN]
        known = {choice.value for choice in found}
        found += self.extra_choices(typed, known)
        choices = self.query_one(ChoiceList)
        before = self._highlighted(choices)
        self._listed_for = self.typed
        width = max(choices.size.width - 2, 20)
        self._shown = []
        options: list[Option] = []
        section = ""
        for choice in found:
            if choice.section and choice.section != section:
                section = choice.section
                self._shown.append(None)
                name = plain_line(section, ascii_only=self._ascii)
                options.append(Option(Content.styled(name, "bold $primary"), disabled=True))
            self._shown.append(choice if choice.value else None)
            options.append(Option(self._line(choice, width), disabled=not choice.value))
        named = before or (typed if typed in known else "")
        takeable = [index for index, choice in enumerate(self._shown) if choice is not None]
        same = [index for index in takeable if self._value(index) == named]
        choices.put(options, (same or takeable or [None])[0])  # type: ignore[list-item]

    def _highlighted(self, choices: ChoiceList) -> str:
        """Return the value under the cursor; empty once something else has been typed."""
        index = choices.highlighted
        if index is None or self.typed != self._listed_for:
            return ""
        return self._value(index)

    def _value(self, index: int) -> str:
        choice = self._shown[index] if index < len(self._shown) else None
        return choice.value if choice is not None else ""

    def _line(self, choice: Choice, width: int) -> Content:
        detail = plain_line(choice.detail, ascii_only=self._ascii)
        room = width - 2
        kept = min(cell_len(detail), max(room - cell_len(choice.title) - 2, _LEAST_DETAIL))
        if detail:
            detail = display_text(detail, kept, spaces=False, ascii_only=self._ascii)
            room -= kept + 2
        title = display_text(choice.title, max(room, 4), spaces=False, ascii_only=self._ascii)
        indent = "  " if choice.section else " "
        return Content.assemble(
            (indent + title, "$foreground"), ("  " * bool(detail) + detail, "$faint")
        )


def best_first(choices: Sequence[Choice], words: list[str]) -> list[Choice]:
    """Return the choices that hold all the words. Sections stay together: the one with the best
    match comes first, and in each the best ones do; matches that are as good keep their order."""
    ranked = [(rank, choice) for choice in choices if (rank := _rank(choice, words)) is not None]
    best: dict[str, int] = {}
    for rank, choice in ranked:
        best[choice.section] = min(rank, best.get(choice.section, rank))
    order = {name: place for place, name in enumerate(best)}
    ranked.sort(key=lambda pair: (best[pair[1].section], order[pair[1].section], pair[0]))
    return [choice for _, choice in ranked]


def _rank(choice: Choice, words: list[str]) -> int | None:
    """Return how well a choice matches, 0 being the best, or None if it does not: worst is what
    only its detail or its section says."""
    if not words:
        return 0
    title = choice.title.casefold()
    ranks = [_rank_of_word(word, title, choice) for word in words]
    if any(rank is None for rank in ranks):
        return None
    return 0 if title.startswith(" ".join(words)) else 1 + max(rank or 0 for rank in ranks)


def _rank_of_word(word: str, title: str, choice: Choice) -> int | None:
    others = choice.words.casefold().split()
    # noise=999: the name of something that has a value is enough.
    name = word.partition("=")[0] if others else word
    if word in title.split():
        return 0
    if any(own.startswith(word) for own in title.split()) or (name and name in others):
        return 1
    if word in title or (name and any(other.startswith(name) for other in others)):
        return 2
    return 3 if word in f"{choice.detail} {choice.section}".casefold() else None
