"""The messages that commands print on stderr while stdout carries their data."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from tui.terminal.surroundings import can_redraw_messages
from tui.text.show import display_text

if TYPE_CHECKING:
    from engine.models.loading import LoadedModel


def say(text: str) -> None:
    """Print one line."""
    print(f"lenscope: {display_text(text, spaces=False)}", file=sys.stderr, flush=True)


def progress(stage: str, fraction: float | None) -> None:
    """Show the current stage in place of the last one; print nothing where that
    cannot be done."""
    if can_redraw_messages():
        share = "" if fraction is None else f" {fraction:.0%}"
        print(f"\r\x1b[K{display_text(stage, spaces=False)}{share} …", end="", file=sys.stderr)
        sys.stderr.flush()


def clear_progress() -> None:
    """Clear the line of `progress`."""
    if can_redraw_messages():
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def model_line(loaded: LoadedModel) -> str:
    """Return the model in one line: its class, its device and how its rows are read."""
    card = loaded.card
    return (
        f"{card.name} ({card.class_name}, {len(loaded.lens.layers)} layers, {card.dtype}, "
        f"{card.device}), proved by {loaded.lens.method}"
    )
