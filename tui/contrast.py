"""How well text is told from its background (WCAG 2.2), and colours that are legible on one."""

from __future__ import annotations

from typing import Final

from textual.color import Color

LEGIBLE: Final = 4.5
"""The least contrast of text of ordinary size (WCAG 2.2, success criterion 1.4.3)."""
_STEPS: Final = 20


def contrast(one: Color, other: Color) -> float:
    """Return the contrast ratio of two opaque colours, 1 to 21."""
    lighter, darker = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def legible(colour: str, background: str, foreground: str) -> str:
    """Return a colour for text on a background: itself, or else blended towards the foreground as
    far as it must be."""
    wanted, behind, text = (Color.parse(each) for each in (colour, background, foreground))
    for step in range(_STEPS + 1):
        mixed = wanted.blend(text, step / _STEPS)
        if contrast(mixed, behind) >= LEGIBLE:
            return colour if step == 0 else mixed.hex
    return text.hex


def _luminance(colour: Color) -> float:
    red, green, blue = (_linear(channel / 255) for channel in colour.rgb)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _linear(channel: float) -> float:
    return channel / 12.92 if channel <= 0.04045 else ((channel + 0.055) / 1.055) ** 2.4
