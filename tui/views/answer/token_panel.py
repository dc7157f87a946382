"""The lines below the columns: the cell and the token under the cursor, the texts that were drawn,
or the settings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import Enum
from typing import ClassVar, Final

from rich.cells import cell_len
from rich.style import Style
from textual.strip import Strip

from engine.methods.answer import AnswerReading
from tui.state.answer_steps import TopToken
from tui.state.tints import Tint
from tui.text.bars import probability_bar
from tui.text.numbers import figure, ordinal
from tui.text.show import display_text, plain_line
from tui.views.answer.along import Along
from tui.views.answer.answer_rows import END
from tui.widgets.drawn_lines import DrawnLines
from tui.widgets.explaining import Caption, Kind
from tui.widgets.strips import strip_of
from tui.widgets.styles import Segments

_TOKEN: Final = 14
_MOST_BAR: Final = 16
_LEAST_BAR: Final = 3
_COUNT: Final = 6
_LABEL: Final = 16
_GAP: Final = 2
_KINDS: Final = ("faint", "answer", "bar", "answer-bar", "error")


_HIGH: Final = 30
"""Lines of a screen on which there is room for two distributions below the cell and the token."""


class Panel(Enum):
    """What the panel shows."""

    TOKEN = "token"
    TEXTS = "texts"
    SETTINGS = "settings"

    @property
    def next(self) -> Panel:
        """The next one, in a circle."""
        panels = list(Panel)
        return panels[(panels.index(self) + 1) % len(panels)]


class TokenPanel(DrawnLines):
    """Draws one of the panels."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {f"panel--{kind}" for kind in _KINDS}
    DEFAULT_CSS = """
    TokenPanel {
        height: 4;
        & > .panel--faint { color: $faint; }
        & > .panel--answer { color: $answer; text-style: bold; }
        & > .panel--bar { color: $bar; }
        & > .panel--answer-bar { color: $answer-bar; }
        & > .panel--error { color: $error; }
    }
    """

    def __init__(self, along: Along, *, ascii_only: bool) -> None:
        super().__init__()
        self._along = along
        self._ascii = ascii_only
        self.panel = Panel.TOKEN
        self.reading: AnswerReading | None = None
        """The whole answer, once it is there."""
        self.settings: tuple[str, ...] = ()
        """The settings in lines; safe for display."""

    def lines_wanted(self) -> int:
        """Return how many lines would show all."""
        if self.panel is Panel.TEXTS:
            return max(len(self._texts(self.size.width)), 4)
        if self.panel is Panel.TOKEN:
            return 8 if self._compares and self.app.size.height >= _HIGH else 4
        return max(len(self._settings(self.size.width)), 4)

    @property
    def _compares(self) -> bool:
        """Whether the model's distribution and the one that was drawn from are laid side by side:
        in greedy decoding there is none."""
        steps, step = self._along.steps, self._along.step
        return len(steps.after(step)) > 1 or bool(steps.figure("removed", step))

    def captions(self) -> Iterable[Caption]:
        """Return all lines, unless they are texts or settings."""
        return [
            Caption(line, kind=Kind.WORDS)
            for line in range(self.size.height if self.panel is Panel.TOKEN else 0)
        ]

    def draw(self) -> list[Strip]:
        """See `DrawnLines.draw`."""
        width, height = self.size.width, self.size.height
        lines = {
            Panel.TOKEN: self._token, Panel.TEXTS: self._texts, Panel.SETTINGS: self._settings,
        }[self.panel](width)  # fmt: skip
        if len(lines) > height > 1:
            more = len(lines) - height + 1
            lines = [*lines[: height - 1], [(f" and {more} more lines", self._style("faint"))]]
        lines += [[]] * (height - len(lines))
        return [strip_of(line, width, self.rich_style) for line in lines]

    def _style(self, kind: str) -> Style:
        return self.rich_style + self.get_component_rich_style(f"panel--{kind}")

    # ------------------------------------------------------------------ the token

    def _token(self, width: int) -> list[Segments]:
        """The best tokens of the cell at the left, the token that was taken at the right."""
        left = (width - 1) // 2
        cell = self._cell_lines(left - _GAP)
        right = width - 1 - left
        taken = self._taken_lines(right)
        steps, step = self._along.steps, self._along.step
        if self._compares:
            before, after = steps.top(steps.rows - 1, step), steps.after(step)
            if self.size.height >= 8:
                cell += self._top_lines("the model's distribution", before, left - _GAP)
                taken += self._top_lines("the one drawn from, after settings", after, right)
            elif self._along.row == steps.rows - 1:
                # The cell is the model's distribution.
                removed = round(steps.figure("removed", step) or 0)
                title = f"after settings; {removed:,} ruled out"
                taken = self._top_lines(title, after, right)
        pairs = zip(cell, taken, strict=True)
        return [[(" ", self.rich_style), *fitted(one, left), *other] for one, other in pairs]

    def _cell_lines(self, width: int) -> list[Segments]:
        along = self._along
        title = f"row {along.row} of 0-{along.run.run.layers}, its best tokens"
        return self._top_lines(title, along.steps.top(along.row, along.step), width)

    def _top_lines(self, title: str, tokens: Sequence[TopToken], width: int) -> list[Segments]:
        """Three tokens with bars below a title; the one that was taken in the answer's colour."""
        along = self._along
        lines: list[Segments] = [[(title, self._style("faint"))]]
        bar = bar_width(width - _TOKEN - 7)
        took = along.steps.token(along.step) if along.steps.count else -1
        for top in tokens:
            kind = ("answer", "answer-bar") if top.id == took else ("", "bar")
            style = self._style(kind[0]) if kind[0] else self.rich_style
            lines.append(
                [
                    (display_text(top.text, _TOKEN, ascii_only=self._ascii) + " ", style),
                    (figure(top.probability) + " ", style),
                    (self._bar(top.probability, bar), self._style(kind[1])),
                ]
            )
        return [*lines, *[[]] * 4][:4]

    def _taken_lines(self, width: int) -> list[Segments]:
        steps, step = self._along.steps, self._along.step
        if not steps.count:
            return [[]] * 4
        faint = self._style("faint")
        text = steps.token_text(step)
        shown = display_text(text, ascii_only=self._ascii)
        if cell_len(shown) > _TOKEN:
            shown = display_text(text, _TOKEN, ascii_only=self._ascii).rstrip()
        if steps.is_end(step):
            shown = f"{END} ({shown})"
        lines: list[Segments] = [
            [
                (f"token {step} ", faint),
                (shown, self._style("answer")),
                (self._along_words(), faint),
            ]
        ]
        bar = bar_width(width - _LABEL - 7)
        for label, name in (("before settings", "probability"), ("after settings", "taken")):
            share = steps.figure(name, step)
            if share is None:
                lines.append([])
                continue
            lines.append(
                [
                    (label.ljust(_LABEL), faint),
                    (figure(share) + " ", self.rich_style),
                    (self._bar(share, bar), self._style("answer-bar")),
                ]
            )
        lines.append([(self._removed_words(step), faint)])
        return lines

    def _along_words(self) -> str:
        """What else is known of the token."""
        steps, step = self._along.steps, self._along.step
        words = []
        for tint, name in ((Tint.PICTURE, "picture"), (Tint.JS, "JS")):
            value = tint.of(steps, step)
            if value is not None:
                words.append(f"{name} {tint.shown(value)}")
        return "".join(f"  {word}" for word in words)

    def _removed_words(self, step: int) -> str:
        steps = self._along.steps
        removed = round(steps.figure("removed", step) or 0)
        last = steps.top(steps.rows - 1, step)
        place = next((at for at, top in enumerate(last) if top.id == steps.token(step)), None)
        words = (
            f"{removed:,} token{'s' * (removed != 1)} ruled out" if removed else "none ruled out"
        )
        if place is None:
            return f"{words}; not in the model's top {len(last)}"
        return words if place == 0 else f"{words}; the model's {ordinal(place + 1)}"

    def _bar(self, share: float, width: int) -> str:
        return probability_bar(share, width, ascii_only=self._ascii) if width else ""

    # ------------------------------------------------------------------ texts and settings

    def _texts(self, width: int) -> list[Segments]:
        reading, faint = self.reading, self._style("faint")
        if reading is None:
            drawn = self._along.steps.drawn
            return [[(f" {drawn} answers drawn so far", faint)]]
        lines: list[Segments] = []
        if reading.plain is not None:
            for label, text in (("with VDD", reading.text), ("without", reading.plain)):
                room = max(width - _LABEL - 1, 1)
                shown = display_text(text, room, spaces=False, ascii_only=self._ascii)
                lines.append([(" " + label.ljust(_LABEL), faint), (shown, self.rich_style)])
        total = max(sum(draw.count for draw in reading.draws), 1)
        if total > 1:
            texts = len(reading.draws)
            words = f"{total} draws, {texts} different text{'s' * (texts > 1)}"
            lines.append([(f" {words}", faint)])
            bar = bar_width(width // 4)
            for draw in reading.draws:
                room = max(width - _COUNT - bar - 9, 1)
                shown = display_text(draw.text.strip(), room, spaces=False, ascii_only=self._ascii)
                share = draw.count / total
                lines.append(
                    [
                        (f"{draw.count:>{_COUNT}} {figure(share)} ", self.rich_style),
                        (self._bar(share, bar), self._style("bar")),
                        (f" {shown}", self.rich_style),
                    ]
                )
        if not lines:
            lines.append(
                [(" one answer was decoded: draws=20 draws more, vdd=none takes the", faint)]
            )
            lines.append([(" picture's prior off (e changes the settings)", faint)])
        return lines

    def _settings(self, width: int) -> list[Segments]:
        lines: list[Segments] = []
        for words in self.settings:
            text = plain_line(words, ascii_only=self._ascii)
            while text:
                part = text[: max(width - 2, 1)]
                if len(part) < len(text) and " " in part:
                    part = part[: part.rindex(" ") + 1]
                lines.append([(f" {part.rstrip()}", self.rich_style)])
                text = text[len(part) :]
        return lines


def bar_width(room: int) -> int:
    """Return the cells of a bar where there is room for so many; none where it would say little."""
    return min(room, _MOST_BAR) if room >= _LEAST_BAR else 0


def fitted(segments: Segments, width: int) -> Segments:
    """Return a line of exactly `width` cells."""
    used, kept = 0, []
    for text, style in segments:
        room = width - used
        if cell_len(text) > room:
            text = text[: max(room, 0)]
            while cell_len(text) > room:
                text = text[:-1]
        kept.append((text, style))
        used += cell_len(text)
    if used < width:
        kept.append((" " * (width - used), kept[-1][1] if kept else Style()))
    return kept
