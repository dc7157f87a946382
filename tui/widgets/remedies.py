"""What the user can do about an error, as keys of the explorer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from engine.errors import Remedy
from tui.actions.keymap import Keymap
from tui.text.remedies import FLAGS, with_ways

_ACTIONS: Final = {Remedy.LOAD_MODEL: "models", Remedy.RUN_AGAIN: "run"}
"""Ids of actions. What has none is decided when the explorer is started: a flag says it."""


def with_keys(text: str, remedies: Sequence[Remedy], keymap: Keymap) -> str:
    """An error's line, and the user's own keys, or else the flags, that mend it."""
    return with_ways(text, [_way(remedy, keymap) for remedy in remedies])


def _way(remedy: Remedy, keymap: Keymap) -> str:
    if remedy in _ACTIONS:
        return keymap.first(_ACTIONS[remedy]) or "in the palette"
    return FLAGS[remedy]
