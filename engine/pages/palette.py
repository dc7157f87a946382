"""The colours of the explorer's own themes, which pages share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Palette:
    """The colours of one theme, as #rrggbb."""

    primary: str
    secondary: str
    accent: str
    foreground: str
    background: str
    panel: str
    success: str
    error: str
    faint: str
    bar: str
    answer: str
    answer_bar: str
    frame: str
    hues: tuple[str, ...]
    """They tell tokens apart; with more tokens they repeat. None resembles `answer`."""


DARK: Final = Palette(
    primary="#6f9ceb",
    secondary="#7d8597",
    accent="#e5b567",
    foreground="#d8dce6",
    background="#15181e",
    panel="#1d2129",
    success="#8ec07c",
    error="#ef6f6c",
    faint="#7a8394",
    bar="#47618f",
    answer="#e5b567",
    answer_bar="#a8813f",
    frame="#333a47",
    hues=(
        "#7fb0f5", "#8fcf8a", "#c6a2f7", "#58cdc4", "#f28d84", "#f0a0d2", "#b9c46a", "#a3b6cc",
    ),
)  # fmt: skip

LIGHT: Final = Palette(
    primary="#2f62b5",
    secondary="#6b7280",
    accent="#a05a00",
    foreground="#22262e",
    background="#faf9f6",
    panel="#efede7",
    success="#3c7a3a",
    error="#b3261e",
    faint="#6d7480",
    bar="#9db7dd",
    answer="#964f00",
    answer_bar="#d9a257",
    frame="#d3d0c6",
    hues=(
        "#1f5fbf", "#2f7d32", "#7a3fc0", "#0b7f7a", "#c0392f", "#b0307f", "#66740c", "#566a80",
    ),
)  # fmt: skip

RAMP: Final = (
    (26, 20, 48), (66, 26, 104), (112, 31, 124), (160, 44, 112),
    (208, 66, 84), (240, 108, 52), (252, 166, 46), (255, 236, 132),
)  # fmt: skip
"""From dark violet to pale yellow: the colour of each step of a map. It gets lighter with every
step, so that it reads without hues, too."""
COLD: Final = (
    (22, 26, 48), (24, 46, 92), (26, 70, 130), (30, 98, 160),
    (44, 128, 184), (78, 160, 204), (126, 194, 222), (196, 230, 240),
)  # fmt: skip
"""The same for numbers below zero, in blue."""
FRAME: Final = (120, 232, 255)
"""Of the frame around a patch: a colour that is in no step."""


def dimmed(colour: str, background: str, share: float) -> str:
    """Return a colour blended towards a background by a share from 0 to 1."""
    pairs = zip(_channels(colour), _channels(background), strict=True)
    return hexed(tuple(round(one + (other - one) * share) for one, other in pairs))


def hexed(colour: tuple[int, ...]) -> str:
    """Return a colour as #rrggbb."""
    return "#" + "".join(f"{channel:02x}" for channel in colour)


def _channels(colour: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(colour[1:]))
