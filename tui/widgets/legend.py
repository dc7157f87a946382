"""The lines below the picture: the scale with its eight steps, the best cells, the keys."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

from rich.cells import cell_len
from textual import events
from textual.strip import Strip

from tui.state.maps import FROM_ZERO, SIGNED, STEPS, Map, Scale
from tui.text.show import display_text
from tui.widgets.drawn_lines import DrawnLines
from tui.widgets.explaining import Caption, Kind
from tui.widgets.marks import MARKS, SIGNED_MARKS
from tui.widgets.strips import strip_of
from tui.widgets.styles import Segments
from tui.widgets.tint import AROUND_ZERO, FROM_LOW, step_style

_SWATCH: Final = 2


@dataclass(frozen=True)
class ScaleShown:
    """What the scale's line says."""

    name: str = ""
    """What is mapped; safe for display."""
    low: str = ""
    high: str = ""
    note: str = ""
    place: str = ""
    """The row, at the right."""
    signed: bool = False
    """Whether the steps are those of a scale around 0."""


def scale_shown(name: str, shown: Map | None, scale: Scale, place: str) -> ScaleShown:
    """Return the scale in words: its ends are printed as they are drawn."""
    if shown is None:
        return ScaleShown(name, place=place)
    low, high = shown.text(scale.low), shown.text(scale.high)
    if (scale.log and shown.unit in FROM_ZERO) or shown.unit == "contrast":
        low = f"{low} or less"
    kind = "log" if scale.log else "linear"
    return ScaleShown(
        name,
        low,
        high,
        kind if name == shown.unit else f"{shown.unit}, {kind}",
        place,
        shown.unit in SIGNED,
    )


def fitted_keys(keys: Sequence[str], width: int) -> str:
    """Return the hints of as many keys as fit; those of the last two always."""
    *others, last, closing = keys
    kept: list[str] = []
    for hint in others:
        if len("  ".join([*kept, hint, last, closing])) > width - 2:
            break
        kept.append(hint)
    return "  ".join([*kept, last, closing])


class Legend(DrawnLines):
    """A few lines: the scale, what is best, what it means or what is wrong, and the keys.

    Everything is fitted when it is drawn, to the width that the widget has then.
    """

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        f"legend--{kind}" for kind in ("faint", "strong", "error", "good")
    }
    DEFAULT_CSS = """
    Legend {
        height: 4;
        & > .legend--faint { color: $faint; }
        & > .legend--strong { color: $answer; text-style: bold; }
        & > .legend--error { color: $error; }
        & > .legend--good { color: $foreground; }
    }
    """

    def __init__(self, keys: Sequence[str], *, ascii_only: bool, marks: bool) -> None:
        super().__init__()
        self._keys = keys
        self._ascii = ascii_only
        self._marks = marks
        self._scale = ScaleShown()
        self._lines: tuple[tuple[str, str], ...] = ()

    def use_marks(self) -> None:
        """Draw the scale in marks from now on."""
        self._marks = True

    def show(self, scale: ScaleShown, *lines: tuple[str, str]) -> None:
        """Show the scale, lines of (text, kind), and the keys below them; a kind is faint, strong,
        good or error."""
        self._scale, self._lines = scale, lines
        self.redraw()

    def on_click(self, event: events.Click) -> None:
        """Close the screen by a click on the last key, which says that it does."""
        keys = fitted_keys(self._keys, self.size.width)
        start = 1 + len(keys) - len(self._keys[-1])
        if event.y == 1 + len(self._lines) and start <= event.x < start + len(self._keys[-1]):
            event.stop()
            self.screen.dismiss(None)

    def captions(self) -> Iterable[Caption]:
        """Return the scale and the lines below it, without the keys."""
        return [Caption(line, kind=Kind.WORDS) for line in range(1 + len(self._lines))]

    def draw(self) -> list[Strip]:
        """See `DrawnLines.draw`."""
        width = self.size.width
        base = self.rich_style
        lines = [strip_of(self._scale_line(width), width, base)]
        for text, kind in (*self._lines, (fitted_keys(self._keys, width), "faint")):
            shown = display_text(text, max(width - 1, 0), spaces=False, ascii_only=self._ascii)
            style = base + self.get_component_rich_style(f"legend--{kind}")
            lines.append(strip_of([(" " + shown, style)], width, base))
        return lines

    def swatches(self) -> Segments:
        """Return what stands for the eight steps between the two ends of the scale."""
        if self._marks:
            return [(f"[{SIGNED_MARKS if self._scale.signed else MARKS}]", self.rich_style)]
        ramp = AROUND_ZERO if self._scale.signed else FROM_LOW
        return [("█" * _SWATCH, self.rich_style + step_style(step, ramp)) for step in range(STEPS)]

    def _scale_line(self, width: int) -> Segments:
        base, shown = self.rich_style, self._scale
        faint = base + self.get_component_rich_style("legend--faint")
        strong = base + self.get_component_rich_style("legend--strong")
        segments: Segments = [(f" {shown.name}", strong)]
        if shown.low:
            segments.append((f"  {shown.low} ", base))
            segments += self.swatches()
            segments.append((f" {shown.high}", base))
        place = shown.place
        room = width - 1 - cell_len(place) - sum(cell_len(text) for text, _ in segments)
        if shown.low and room > cell_len(shown.note) + 2:
            segments.append((f"  {shown.note}", faint))
            room -= cell_len(shown.note) + 2
        if room > 0:
            segments += [(" " * room, base), (place, base)]
        return segments
