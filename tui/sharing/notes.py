"""The notes on a run's model as lines of a text."""

from __future__ import annotations

from engine.records import Run


def note_lines(run: Run) -> list[str]:
    """Return a line for each note on the model, as untrusted as its folder: not safe for display
    yet."""
    card = run.question.model
    return [] if card is None else [f"Note on {card.name}: {note}" for note in card.notes]
