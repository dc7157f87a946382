"""Ways to resolve an error, as keys of the explorer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from engine.errors import Remedy
from tui.actions.keymap import Keymap
from tui.text.remedies import FLAGS, with_ways

_ACTIONS: Final = {Remedy.LOAD_MODEL: "models", Remedy.RUN_AGAIN: "run"}
"""Remedy -> id of the action that performs it. The others need a flag when the explorer is
started."""


def with_keys(text: str, remedies: Sequence[Remedy], keymap: Keymap) -> str:
    """Return an error's line with the user's keys, or else the flags, that resolve it."""
    return with_ways(text, [_way(remedy, keymap) for remedy in remedies])


def _way(remedy: Remedy, keymap: Keymap) -> str:
    if remedy in _ACTIONS:
        return keymap.first(_ACTIONS[remedy]) or "in the palette"
    return FLAGS[remedy]
