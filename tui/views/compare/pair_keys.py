"""What the actions of the registry do where two runs are compared, besides those that the
comparison performs itself: they act on both runs, or do nothing, for a reason."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from tui.views.registry import VIEWS

BY_APP: Final = frozenset(
    {
        "more", "less", "find", "find-next", "find-previous", "columns", "fold", "track",
        "next-position", "previous-position", "next-part", "previous-part", "own-position",
        "unfold", "theme", "save", "copy-row", "copy-table", "copy-as", "export", "screenshot",
        "cancel", "palette", "help", "glossary", "explain", "redraw", "suspend",
    }
)  # fmt: skip
"""Ids of the actions whose function knows of two runs, or acts in the same way everywhere."""

_ASKS: Final = "questions are asked on the main screen: {leave} goes back to it"
_ONE_RUN: Final = "this is of one run: {leave} goes back, {history} there lists the runs"
_OPENS: Final = "what is opened is shown on the main screen: {leave} goes back to it"
_PICTURES: Final = "the pictures here are those of the two runs ({picture} shows them)"
_ONE_PANE: Final = "the keys go to the table: no other pane here takes any"
_PAIR: Final = "these two runs belong together: {compare} on the main screen compares others"


def _reasons() -> Mapping[str, str]:
    words = {
        _ASKS: (
            "run", "live", "edit", "next-preset", "previous-preset", "prompts", "run-presets",
            "ask-every", "norm", "settings", "continue", "instead", "without", "against",
        ),
        _ONE_RUN: (
            "rename", "note", "delete", "undo", "copy-command", "copy-python", "notes", "where",
        ),
        _OPENS: ("open", "open-pasted", "recover", "models", "load", "history", "sweep"),
        _PICTURES: ("next-picture", "previous-picture", "seen"),
        _ONE_PANE: ("next-pane", "previous-pane"),
        _PAIR: ("next-run", "previous-run", "compare"),
    }  # fmt: skip
    found = {identity: reason for reason, ids in words.items() for identity in ids}
    return MappingProxyType(found)


_REASONS: Final = _reasons()
_VIEW: Final = "{title}: of one run; {leave} goes back, {history} there lists the runs"
"""Of every view that is not named above."""


def reason_against(identity: str) -> str:
    """Return why an action does nothing here, with the ids of actions in braces, in whose place
    their keys are put; empty where nothing is known of it."""
    title = next((view.title for view in VIEWS if view.id == identity), "")
    return _REASONS.get(identity, _VIEW.replace("{title}", title) if title else "")
