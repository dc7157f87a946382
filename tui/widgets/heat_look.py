"""How heat is drawn in eight steps: as the background of a cell, or as a sign where there are no
colours to shade with."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Final

from rich.style import Style
from textual.widget import Widget

from tui.state.heats import STEPS

_GLYPHS: Final = " ▁▂▃▄▅▆▇"
_SHADES: Final = (0, 4, 9, 14, 19, 24, 30, 36)
"""How much of the theme's colour each step has, in per cent."""
SHADE_CLASSES: Final = frozenset(f"heat--{step}" for step in range(1, STEPS))
"""The component classes of a widget that draws heat; `shades_css` gives them their colours."""


@dataclass(frozen=True)
class HeatLook:
    """How the steps of heat look."""

    backgrounds: tuple[Style, ...]
    """One for each step; empty where a sign is drawn."""
    ascii_only: bool = False

    def sign(self, step: int) -> str:
        """Return the sign of a step; a blank where the background shows it."""
        if self.backgrounds:
            return " "
        return (str(step) if step else " ") if self.ascii_only else _GLYPHS[step]

    def background(self, step: int) -> Style:
        """Return the background of a step; none where a sign is drawn."""
        return self.backgrounds[step] if self.backgrounds and step else Style()


def shades_css(widget: str) -> str:
    """Return the rules that give a kind of widget the backgrounds of the steps."""
    return "".join(
        f"{widget} > .heat--{step} {{ background: $primary {_SHADES[step]}%; }}\n"
        for step in range(1, STEPS)
    )


def heat_look(widget: Widget, *, ascii_only: bool) -> HeatLook:
    """Return how heat looks in a widget that has `SHADE_CLASSES`, with the theme as it is now."""
    if ascii_only or "NO_COLOR" in os.environ or widget.app.current_theme.ansi:
        return HeatLook((), ascii_only)
    found = [widget.get_component_rich_style(f"heat--{step}") for step in range(1, STEPS)]
    return HeatLook((Style(), *(Style(bgcolor=each.bgcolor) for each in found)), ascii_only)
