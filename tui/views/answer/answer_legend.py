"""The lines below an answer: the scale of the tint, the settings, what is wrong, and the keys."""

from __future__ import annotations

from typing import ClassVar, Final

from tui.state.heats import STEPS
from tui.widgets.heat_look import SHADE_CLASSES, heat_look, shades_css
from tui.widgets.legend import Legend
from tui.widgets.styles import Segments

_SWATCH: Final = 2


class AnswerLegend(Legend):
    """Prints the scale in the backgrounds, or the signs, with which the text is tinted."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {*SHADE_CLASSES}
    DEFAULT_CSS = shades_css("AnswerLegend")

    def swatches(self) -> Segments:
        """Return a swatch for each step; see `Legend.swatches`."""
        look = heat_look(self, ascii_only=self._ascii)
        if not look.backgrounds:
            return [(f"[{''.join(look.sign(step) for step in range(STEPS))}]", self.rich_style)]
        return [(" " * _SWATCH, self.rich_style + look.background(step)) for step in range(STEPS)]
