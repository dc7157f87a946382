"""The message with which a view asks for a place of the run to be shown."""

from __future__ import annotations

from dataclasses import dataclass

from textual.message import Message


@dataclass
class PlaceChosen(Message):
    """The user has chosen a position of the shown run, and perhaps a row."""

    position: int
    """An index into the run's tokens."""
    row: int | None = None
    """None keeps the row."""
