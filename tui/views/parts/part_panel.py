"""The part or head under the cursor: its share, its effect, its words, and what it was sent."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Final

from textual.strip import Strip

from engine.methods.parts import WORDED, PartShare
from tui.text.show import display_text
from tui.widgets.drawn_lines import DrawnLines
from tui.widgets.pushed_words import pushed_line
from tui.widgets.strips import strip_of

_NO_WORDS: Final = f"words are read of the {WORDED} largest, once all is read"


@dataclass(frozen=True)
class PartShown:
    """What the panel shows. All texts are safe for display but that of the part."""

    part: PartShare | None = None
    share: str = ""
    """Its share, and its place among all."""
    effect: str = ""
    """What taking it out does, or how to find out."""
    is_known: bool = False
    """Whether the effect is known."""
    more: tuple[str, ...] = field(default=())
    """What it was sent; each in a line of its own."""
    words: str = ""
    """In place of a part."""
    failed: bool = False


class PartPanel(DrawnLines):
    """Shows one part in words."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        f"part--{kind}" for kind in ("faint", "strong", "struck")
    }
    DEFAULT_CSS = """
    PartPanel {
        & > .part--faint { color: $faint; }
        & > .part--strong { color: $answer; text-style: bold; }
        & > .part--struck { color: $error; text-style: strike; }
    }
    """

    def __init__(self, *, ascii_only: bool) -> None:
        super().__init__()
        self._ascii = ascii_only
        self._shown = PartShown()

    def show(self, shown: PartShown) -> None:
        """Show a part."""
        self._shown = shown
        self.redraw()

    def draw(self) -> list[Strip]:
        """See `DrawnLines.draw`."""
        width, base, shown = self.size.width, self.rich_style, self._shown
        faint = base + self.get_component_rich_style("part--faint")
        struck = base + self.get_component_rich_style("part--struck")
        part, room = shown.part, max(width - 2, 0)
        if part is None:
            return [strip_of([(f" {shown.words}", faint)], width, base)]
        strong = base + self.get_component_rich_style("part--strong")
        first = [
            (f" {shown.share}", struck if shown.failed else base),
            (f"   {shown.effect}", strong if shown.is_known else faint),
        ]
        lines = [strip_of(first, width, base)]
        if part.reason:
            reason = display_text(
                f"one part: {part.reason}", room, spaces=False, ascii_only=self._ascii
            )
            lines.append(strip_of([(f" {reason}", faint)], width, base))
        has_words = bool(part.promotes or part.suppresses)
        if not has_words:
            lines.append(strip_of([(f" {_NO_WORDS}", faint)], width, base))
        pushed = (("promotes", part.promotes), ("suppresses", part.suppresses))
        for name, words in pushed if has_words else ():
            line = pushed_line(name, words, room, ascii_only=self._ascii)
            lines.append(strip_of([(f" {line}", struck if shown.failed else base)], width, base))
        for text in shown.more:
            fitted = display_text(text, room, spaces=False, ascii_only=self._ascii)
            lines.append(strip_of([(f" {fitted}", base)], width, base))
        return lines
