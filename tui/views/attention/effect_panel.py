"""The effects of knockout: a line for each pair, with a cell for each layer."""

from __future__ import annotations

from typing import ClassVar, Final

from rich.cells import cell_len
from rich.style import Style
from textual.strip import Strip
from textual.widget import Widget

from tui.state.maps import NO_STEP
from tui.text.numbers import number
from tui.text.show import display_text
from tui.views.attention.effects import Effect, Effects, pair_name
from tui.widgets.marks import MARKS
from tui.widgets.strips import redraw_changes, strip_of
from tui.widgets.styles import Segments
from tui.widgets.tint import step_style

_MOST_NAME: Final = 19
_WORDS: Final = 17
"""Cells for what became of the answer at the layer under the cursor."""


class EffectPanel(Widget):
    """Shows what becomes of the answer where some tokens may not be looked at."""

    ALLOW_SELECT = False
    COMPONENT_CLASSES: ClassVar[set[str]] = {f"effects--{kind}" for kind in ("faint", "good")}
    DEFAULT_CSS = """
    EffectPanel {
        & > .effects--faint { color: $faint; }
        & > .effects--good { color: $success; }
    }
    """

    def __init__(self, *, ascii_only: bool, letters: bool) -> None:
        """With `letters`, marks stand in place of colours."""
        super().__init__()
        self._ascii, self._letters = ascii_only, letters
        self._effects = Effects()
        self._layers = self._layer = 0
        self._words = ""
        self._strips: list[Strip] = []

    def show(self, effects: Effects, layers: int, layer: int, words: str) -> None:
        """Show effects over so many layers, and in words those at a layer; `words` are shown in
        place of them as long as there are none. They must be safe for display."""
        self._effects, self._layers, self._layer, self._words = effects, layers, layer, words
        if self.size.width:
            old, self._strips = self._strips, self._draw()
            redraw_changes(self, old, self._strips)

    @property
    def wanted_height(self) -> int:
        """How many lines there are to show."""
        return 1 + max(len(self._effects.pairs), 1)

    def on_resize(self) -> None:
        """Fit the new size."""
        self._strips = self._draw()
        self.refresh()

    def notify_style_update(self) -> None:
        """Redraw with the colours of the new theme."""
        super().notify_style_update()
        self._strips = []

    def render_line(self, y: int) -> Strip:
        """Draw a line."""
        if not self._strips or self._strips[0].cell_length != self.size.width:
            self._strips = self._draw()
        if y < len(self._strips):
            return self._strips[y]
        return Strip.blank(self.size.width, self.rich_style)

    def _draw(self) -> list[Strip]:
        width, base = self.size.width, self.rich_style
        faint = base + self.get_component_rich_style("effects--faint")
        effects = self._effects
        if not effects:
            words = display_text(self._words, max(width - 1, 0), spaces=False)
            return [strip_of([(f" {words}", faint)], width, base)]
        names = min(max(cell_len(self._pair_name(pair)) for pair in effects.pairs), _MOST_NAME)
        room = max(width - names - 3 - _WORDS, 1)
        lines = [self._heading(names, faint)]
        for pair in effects.pairs:
            line: Segments = [
                (f" {display_text(self._pair_name(pair), names, spaces=False)} ", base)
            ]
            used = 0
            for effect, cells in effects.row(pair, self._layers, room):
                line.append(self._cell(effect, cells, base))
                used += cells
            words = effects.short(pair, self._layer, ascii_only=self._ascii)
            left = max(width - names - 3 - used, 0)
            line += [(" ", base), (display_text(words, left, spaces=False), base)]
            lines.append(line)
        return [strip_of(line, width, base) for line in lines]

    def _heading(self, names: int, faint: Style) -> Segments:
        effects = self._effects
        clean = effects.clean
        if clean is None:
            return [(" without:", faint)]
        token = display_text(clean.text, 12, ascii_only=self._ascii).rstrip()
        return [
            (f" {'without':<{names}} ", faint),
            (f"log p({token}) {number(clean.log_probability)}, loses up to ", faint),
            (f"{effects.most:.2f}; at layer {self._layer}", faint),
        ]

    def _cell(self, effect: Effect | None, cells: int, base: Style) -> tuple[str, Style]:
        effects = self._effects
        step = effects.step(effect)
        faint = base + self.get_component_rich_style("effects--faint")
        if step == NO_STEP:
            mark = "x" if effect is not None and effect.reason else "." if self._ascii else "·"
            return (mark.ljust(cells), faint)
        if effects.is_rise(effect):
            good = base + self.get_component_rich_style("effects--good")
            return ("^" * cells if self._letters else "+" * cells, good)
        if self._letters:
            return ((MARKS[step] if step else "_") * cells, base)
        return (("█" * cells), base + step_style(step))

    def _pair_name(self, pair: tuple[str, str]) -> str:
        return pair_name(pair, ascii_only=self._ascii)
