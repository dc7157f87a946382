"""The theme's colours of numbers with a sign: as backgrounds in eight steps, and as bars.

The steps are those of `tui.state.maps.signed_scale`; where there are no colours,
`tui.widgets.marks.SIGNED_MARKS` stand in their place. On a picture they are those of
`tui.widgets.tint.AROUND_ZERO`.
"""

from __future__ import annotations

import os
from typing import Final

from rich.style import Style
from textual.widget import Widget

from tui.state.maps import STEPS

_NEGATIVE, _POSITIVE = "error", "primary"
"""The theme's colours of the signs: whoever sees colours at all tells red from blue."""
_SHADES: Final = (78, 50, 28, 12, 12, 28, 50, 78)
"""How much of the sign's colour each step has, in per cent."""
SIGNED_CLASSES: Final = frozenset(
    {"signed--negative", "signed--positive", *(f"signed--{step}" for step in range(STEPS))}
)
"""The component classes of a widget that draws numbers with a sign; `signed_css` gives them their
colours."""


def signed_css(widget: str) -> str:
    """Return the rules that give a kind of widget the colours of the signs and the steps."""
    half = STEPS // 2
    rules = [
        f"{widget} > .signed--negative {{ color: ${_NEGATIVE}; }}",
        f"{widget} > .signed--positive {{ color: ${_POSITIVE}; }}",
    ]
    for step, share in enumerate(_SHADES):
        colour = _NEGATIVE if step < half else _POSITIVE
        rules.append(f"{widget} > .signed--{step} {{ background: ${colour} {share}%; }}")
    return "\n".join(rules) + "\n"


def signed_backgrounds(widget: Widget, *, ascii_only: bool) -> tuple[Style, ...]:
    """Return the background of each step in a widget that has `SIGNED_CLASSES`, with the theme as
    it is now; none where marks stand in place of colours."""
    if ascii_only or "NO_COLOR" in os.environ or widget.app.current_theme.ansi:
        return ()
    found = [widget.get_component_rich_style(f"signed--{step}") for step in range(STEPS)]
    return tuple(Style(bgcolor=each.bgcolor) for each in found)


def sign_styles(widget: Widget) -> tuple[Style, Style]:
    """Return the styles of negative and of positive numbers and bars in a widget that has
    `SIGNED_CLASSES`."""
    base = widget.rich_style
    negative = widget.get_component_rich_style("signed--negative")
    positive = widget.get_component_rich_style("signed--positive")
    return base + negative, base + positive
