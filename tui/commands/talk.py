"""What the commands say on stderr while stdout holds their data."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from tui.text.show import display_text

if TYPE_CHECKING:
    from engine.models.loading import LoadedModel


def say(text: str) -> None:
    """One line."""
    print(f"lenscope: {display_text(text, spaces=False)}", file=sys.stderr, flush=True)


def progress(stage: str, fraction: float | None) -> None:
    """What is being done, over the last such line; nothing where stderr is no terminal."""
    if sys.stderr.isatty():
        share = "" if fraction is None else f" {fraction:.0%}"
        print(f"\r\x1b[K{display_text(stage, spaces=False)}{share} …", end="", file=sys.stderr)
        sys.stderr.flush()


def clear_progress() -> None:
    """Take the line of `progress` away."""
    if sys.stderr.isatty():
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def model_line(loaded: LoadedModel) -> str:
    """The model in one line: what it is, where it runs, how its rows are read."""
    card = loaded.card
    return (
        f"{card.name} ({card.class_name}, {len(loaded.lens.layers)} layers, {card.dtype}, "
        f"{card.device}), proved by {loaded.lens.method}"
    )
