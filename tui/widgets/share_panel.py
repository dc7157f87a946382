"""What is under the cursor: its share of a logit, its effect, and the words that it pushes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.cells import cell_len
from textual.strip import Strip

from engine.methods.logit_asked import Pushed
from tui.text.numbers import signed_figure
from tui.text.show import display_text, whole_parts
from tui.widgets.drawn_lines import DrawnLines
from tui.widgets.explaining import Caption, Kind
from tui.widgets.strips import strip_of


@dataclass(frozen=True)
class ShareShown:
    """What the panel shows."""

    share: str
    """What it is and its share, safe for display; alone where nothing is known."""
    effect: str = ""
    """What taking it out does, or how to find out; safe for display."""
    is_known: bool = False
    """Whether the effect is known."""
    promotes: Sequence[Pushed] = ()
    suppresses: Sequence[Pushed] = ()
    no_words: str = ""
    """Why there are no words, safe for display."""
    more: tuple[str, ...] = ()
    """Further lines."""
    failed: bool = False
    """Whether a proof has failed."""


class SharePanel(DrawnLines):
    """Shows a part, a head or a unit in words."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        f"share--{kind}" for kind in ("faint", "strong", "struck")
    }
    DEFAULT_CSS = """
    SharePanel {
        & > .share--faint { color: $faint; }
        & > .share--strong { color: $answer; text-style: bold; }
        & > .share--struck { color: $error; text-style: strike; }
    }
    """

    def __init__(self, *, ascii_only: bool) -> None:
        super().__init__()
        self._ascii = ascii_only
        self._shown = ShareShown("")

    def show(self, shown: ShareShown) -> None:
        """Show another one."""
        self._shown = shown
        self.redraw()

    def captions(self) -> Iterable[Caption]:
        """Return all lines."""
        return [Caption(line, kind=Kind.WORDS) for line in range(self.size.height)]

    def draw(self) -> list[Strip]:
        """See `DrawnLines.draw`."""
        width, base, shown = self.size.width, self.rich_style, self._shown
        faint, strong, struck = (
            base + self.get_component_rich_style(f"share--{kind}")
            for kind in ("faint", "strong", "struck")
        )
        plain = struck if shown.failed else base
        room = max(width - 2, 0)
        known = struck if shown.failed else strong
        effect = (f"   {shown.effect}", known if shown.is_known else faint)
        lines = [[(f" {shown.share}", plain), effect]]
        if shown.promotes or shown.suppresses:
            for name, words in (("promotes", shown.promotes), ("suppresses", shown.suppresses)):
                line = pushed_line(name, words, room, ascii_only=self._ascii)
                lines.append([(f" {line}", plain)])
        elif shown.no_words:
            lines.append([(f" {shown.no_words}", faint)])
        for text in shown.more:
            fitted = whole_parts(text, room, "  ", ascii_only=self._ascii)
            lines.append([(f" {fitted}", plain)])
        return [strip_of(line, width, base) for line in lines]


def pushed_line(name: str, words: Sequence[Pushed], width: int, *, ascii_only: bool) -> str:
    """Return such as "promotes  ·red +1.20  ·blue +0.31" with as many words as fit whole; safe for
    display."""
    line = f"{name:<11}"
    for word in words:
        token = display_text(word.text, ascii_only=ascii_only)
        more = f"{token} {signed_figure(word.logit)}  "
        if cell_len(line) + cell_len(more) - 2 > width:
            break
        line += more
    return line.rstrip()
