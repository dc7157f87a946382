"""The effects of knockout: a line for each pair, with a cell for each layer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, Final

from rich.cells import cell_len
from rich.style import Style
from textual.strip import Strip

from tui.state.maps import NO_STEP
from tui.text.phrases import TERMS
from tui.text.show import display_text
from tui.views.attention.effects import Effect, Effects, pair_names
from tui.widgets.drawn_lines import DrawnLines
from tui.widgets.explaining import Caption, Kind
from tui.widgets.marks import MARKS
from tui.widgets.strips import strip_of
from tui.widgets.styles import Segments
from tui.widgets.tint import step_style

_HEAD: Final = 1
"""Lines above the pairs."""
_WIDE: Final = 56
_NAME: Final = 19
_SHORT_NAME: Final = 12
_WORDS: Final = 17
"""Cells for what became of the answer at the layer under the cursor."""
_FEW_WORDS: Final = 11
_ALL: Final = 4
"""Cells for all layers at once, and a blank."""


class EffectPanel(DrawnLines):
    """Shows what becomes of the answer where some tokens may not be looked at."""

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
        self._effects = Effects(0)
        self._layer = 0
        self._words = ""

    def show(self, effects: Effects, layer: int, words: str) -> None:
        """Show effects, and in words those at a layer; `words` are shown in place of them as long
        as there are none. They must be safe for display."""
        self._effects, self._layer, self._words = effects, layer, words
        self.redraw()

    @property
    def wanted_height(self) -> int:
        """How many lines there are to show; in fewer, the newest pairs are shown."""
        return _HEAD + max(len(self._effects.pairs), 1)

    def captions(self) -> Iterable[Caption]:
        """Return the line above the pairs."""
        return [Caption(0, kind=Kind.WORDS, named={"all": TERMS["knockout"]})]

    def draw(self) -> list[Strip]:
        """See `DrawnLines.draw`."""
        width, base = self.size.width, self.rich_style
        faint = base + self.get_component_rich_style("effects--faint")
        effects = self._effects
        if not effects:
            words = display_text(self._words, max(width - 1, 0), spaces=False)
            return [strip_of([(f" {words}", faint)], width, base)]
        most = _NAME if width >= _WIDE else _SHORT_NAME
        pairs = [*effects.pairs][-max(self.size.height - _HEAD, 1) :]
        shown = pair_names(pairs, most, ascii_only=self._ascii)
        names = max(cell_len(name) for name in shown)
        few = width < _WIDE
        room = max(width - names - 3 - _ALL - (_FEW_WORDS if few else _WORDS), 1)
        used = sum(cells for _, cells in effects.row(pairs[0], room))
        rest = max(width - names - 3 - _ALL - used, 0)
        scale = f"0 to -{effects.most:.2f}"[:used]
        heading = f" {'without'[:names]:<{names}} all {scale:<{used}} at layer {self._layer}"
        lines: list[Segments] = [[(heading, faint)]]
        for name, pair in zip(shown, pairs, strict=True):
            line: Segments = [(f" {name}{' ' * (names - cell_len(name))} ", base)]
            line += [self._cell(effects.whole(pair), _ALL - 1, base), (" ", base)]
            line += [self._cell(*each, base) for each in effects.row(pair, room)]
            short = effects.short(pair, self._layer, ascii_only=self._ascii)
            fitted = display_text(short, rest, spaces=False, ascii_only=self._ascii)
            lines.append([*line, (f" {fitted}", base)])
        return [strip_of(line, width, base) for line in lines]

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
