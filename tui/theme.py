"""Our own dark and light theme, in addition to Textual's; pages have the same colours."""

from __future__ import annotations

from typing import Any, Final

from textual.app import App
from textual.color import Color
from textual.theme import BUILTIN_THEMES, Theme

from engine.pages import palette
from engine.pages.palette import Palette
from tui.contrast import legible

HUES: Final = len(palette.DARK.hues)
"""How many colours tell tokens apart; with more tokens they repeat. None resembles `answer`."""

_BAR_DIMNESS: Final = 0.42

_ANSI = (
    "ansi_blue", "ansi_green", "ansi_magenta", "ansi_cyan",
    "ansi_red", "ansi_bright_magenta", "ansi_bright_green", "ansi_bright_blue",
)  # fmt: skip


def hue_variables(colours: tuple[str, ...]) -> dict[str, str]:
    """Return the CSS variables of the token colours, `hue-1` to `hue-8`."""
    return {f"hue-{index}": colour for index, colour in enumerate(colours, 1)}


def _theme(name: str, colours: Palette, *, dark: bool) -> Theme:
    return Theme(
        name=name,
        primary=colours.primary,
        secondary=colours.secondary,
        accent=colours.accent,
        foreground=colours.foreground,
        background=colours.background,
        surface=colours.background,
        panel=colours.panel,
        success=colours.success,
        warning=colours.accent,
        error=colours.error,
        dark=dark,
        variables={
            "faint": colours.faint,
            "bar": colours.bar,
            "answer": colours.answer,
            "answer-bar": colours.answer_bar,
            "frame": colours.frame,
            "border": colours.frame,
            "scrollbar": colours.frame,
            "scrollbar-background": colours.background,
            "input-selection-background": f"{colours.primary} {35 if dark else 25}%",
            **hue_variables(colours.hues),
        },
    )


DARK = _theme("lenscope", palette.DARK, dark=True)
LIGHT = _theme("lenscope-light", palette.LIGHT, dark=False)
OWN = (DARK, LIGHT)


def theme_names() -> list[str]:
    """Return the names that `--theme` accepts, ours first."""
    return [*(theme.name for theme in OWN), *sorted(BUILTIN_THEMES)]


def register_themes(app: App[Any]) -> None:
    """Register our themes with the app."""
    for theme in OWN:
        app.register_theme(theme)


def with_own_variables(
    variables: dict[str, str], *, dark: bool = True, ansi: bool = False
) -> dict[str, str]:
    """Return a theme's CSS variables with ours added; missing ones are derived from its colours."""
    ours = {
        **hue_variables(_ANSI if ansi else (palette.DARK if dark else palette.LIGHT).hues),
        "faint": variables.get("text-muted", variables["foreground"]),
        "bar": variables["primary"],
        "answer": variables["accent"],
        "answer-bar": variables["accent"],
        "frame": variables.get("panel", variables["primary"]),
    }
    whole = {**ours, **variables}
    if not ansi:
        behind, text = whole["background"], whole["foreground"]
        whole["answer"] = legible(whole["answer"], behind, text)
    for index in range(1, HUES + 1):
        hue = whole[f"hue-{index}"]
        whole[f"hue-bar-{index}"] = hue if ansi else _dimmed(hue, whole["background"])
    return whole


def _dimmed(colour: str, background: str) -> str:
    """Return a colour blended towards the background: bars are larger than words, so they should
    be less bright."""
    return Color.parse(colour).blend(Color.parse(background), _BAR_DIMNESS).hex
