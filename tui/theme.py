"""Two calm themes of our own beside Textual's."""

from __future__ import annotations

from textual.app import App
from textual.theme import BUILTIN_THEMES, Theme

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
    },
)

OWN = (DARK, LIGHT)


def theme_names() -> list[str]:
    """Return the names that `--theme` takes, ours first."""
    return [*(theme.name for theme in OWN), *sorted(BUILTIN_THEMES)]


def register_themes(app: App[int]) -> None:
    """Make our themes known to the app."""
    for theme in OWN:
        app.register_theme(theme)


def with_own_variables(variables: dict[str, str]) -> dict[str, str]:
    """Return a theme's CSS variables with ours, made from its own colours where it lacks them."""
    ours = {
        "faint": variables.get("text-muted", variables["foreground"]),
        "bar": variables["primary"],
        "answer": variables["accent"],
        "answer-bar": variables["accent"],
        "frame": variables.get("panel", variables["primary"]),
    }
    return {**ours, **variables}
