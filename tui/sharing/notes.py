"""The notes on a run's model, and the position that is shown, as lines of a text."""

from __future__ import annotations

import json

from engine.records import Run
from tui.state.run_view import RunView


def position_line(view: RunView) -> str:
    """Return at which position the rows were read; empty for the run's own. The token's text is not
    safe for display yet."""
    own, position = view.own.run, view.run.position
    if view.own is view or not 0 <= position < len(own.tokens):
        return ""
    text = json.dumps(own.tokens[position].text, ensure_ascii=False)
    return f"Read at position {position} (0-{len(own.tokens) - 1}), after the token {text}"


def note_lines(run: Run) -> list[str]:
    """Return a line for each note on the model, as untrusted as its folder: not safe for display
    yet."""
    card = run.question.model
    return [] if card is None else [f"Note on {card.name}: {note}" for note in card.notes]
