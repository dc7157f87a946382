"""Our own dark and light theme, in addition to Textual's."""

from __future__ import annotations

from typing import Any, Final

from textual.app import App
from textual.color import Color
from textual.theme import BUILTIN_THEMES, Theme

from tui.contrast import legible

HUES: Final = 8
"""How many colours tell tokens apart; with more tokens they repeat. None resembles `answer`."""

_ON_DARK = (
    "#7fb0f5", "#8fcf8a", "#c6a2f7", "#58cdc4", "#f28d84", "#f0a0d2", "#b9c46a", "#a3b6cc",
)  # fmt: skip
_ON_LIGHT = (
    "#1f5fbf", "#2f7d32", "#7a3fc0", "#0b7f7a", "#c0392f", "#b0307f", "#66740c", "#566a80",
)  # fmt: skip
_BAR_DIMNESS: Final = 0.42

_ANSI = (
    "ansi_blue", "ansi_green", "ansi_magenta", "ansi_cyan",
    "ansi_red", "ansi_bright_magenta", "ansi_bright_green", "ansi_bright_blue",
)  # fmt: skip


def hue_variables(colours: tuple[str, ...]) -> dict[str, str]:
    """Return the CSS variables of the token colours, `hue-1` to `hue-8`."""
    return {f"hue-{index}": colour for index, colour in enumerate(colours, 1)}


DARK = Theme(
    name="lenscope",
    primary="#6f9ceb",
    secondary="#7d8597",
    accent="#e5b567",
    foreground="#d8dce6",
    background="#15181e",
    surface="#15181e",
    panel="#1d2129",
    success="#8ec07c",
    warning="#e5b567",
    error="#ef6f6c",
    dark=True,
    variables={
        "faint": "#7a8394",
        "bar": "#47618f",
        "answer": "#e5b567",
        "answer-bar": "#a8813f",
        "frame": "#333a47",
        "border": "#333a47",
        "scrollbar": "#333a47",
        "scrollbar-background": "#15181e",
        "input-selection-background": "#6f9ceb 35%",
        **hue_variables(_ON_DARK),
    },
)

LIGHT = Theme(
    name="lenscope-light",
    primary="#2f62b5",
    secondary="#6b7280",
    accent="#a05a00",
    foreground="#22262e",
    background="#faf9f6",
    surface="#faf9f6",
    panel="#efede7",
    success="#3c7a3a",
    warning="#a05a00",
    error="#b3261e",
    dark=False,
    variables={
        "faint": "#6d7480",
        "bar": "#9db7dd",
        "answer": "#964f00",
        "answer-bar": "#d9a257",
        "frame": "#d3d0c6",
        "border": "#d3d0c6",
        "scrollbar": "#d3d0c6",
        "scrollbar-background": "#faf9f6",
        "input-selection-background": "#2f62b5 25%",
        **hue_variables(_ON_LIGHT),
    },
)

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
        **hue_variables(_ANSI if ansi else _ON_DARK if dark else _ON_LIGHT),
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
