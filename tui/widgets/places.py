"""A place in a run: a row at a position. What is posted when the user goes to one, what the views
that follow must offer, and what a place is in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from rich.cells import cell_len
from textual.message import Message

from tui.state.prompt_spans import patch_of
from tui.state.run_view import RunView
from tui.text.show import display_text

_MOST_TOKEN = 16
PICTURE, PICTURE_ASCII = "▣", "patches"
SINK, SINK_ASCII = "▾", "!"
READ, READ_ASCII = "▸", ">"


@dataclass
class PlaceChosen(Message):
    """The user has gone to a position of the shown run, and to a row if it is given. Any view or
    screen may post it; the app handles it."""

    position: int
    row: int | None = None
    taken: bool = False
    """Whether the app has gone there."""


@runtime_checkable
class FollowsPlace(Protocol):
    """A view that marks the position under the cursor, before its rows have been read."""

    def put_place(self, position: int, *, unfolded: bool) -> None:
        """Mark a position; `unfolded` says whether every patch is walked by itself."""


def place_words(run: RunView, position: int, row: int, *, ascii_only: bool) -> str:
    """Return what stands at a position of the prompt or of the answer, and what its row says there,
    in one line of at most 78 cells."""
    own = run.own
    tokens = own.run.tokens
    token, patch = run.token(position), patch_of(tokens, position)
    if token is None:
        return ""
    where = position_words(run, position)
    cells = own.cells
    # What changes from one position to the next comes last, so that little must be sent.
    if cells is not None and position in cells.sinks:
        return f"a sink: its massive activations hold no content; {where}"
    if patch is not None:
        where = f"{where}, patch {patch[0]} of {patch[1]}"
        if row == 0:
            return f"row 0 is the projector's output; {where}"
        return f"nothing trained it to name the patch; {where}"
    text = display_text(token.text, ascii_only=ascii_only)
    if cell_len(text) > _MOST_TOKEN:
        text = display_text(token.text, _MOST_TOKEN, ascii_only=ascii_only).rstrip()
    if position >= len(tokens):
        return f"a row says the next token; {where}, after {text}"
    part = token.part if token.kind != "special" else f"{token.part}, special"
    return f"a row says the next token; {where}, {part}, after {text}"


def title_words(run: RunView, position: int) -> str:
    """Return a position of a run in a few words for a title; empty for the run's own."""
    own = run.own.run
    return "" if position == own.position else f"at {position_words(run, position)}"


def position_words(run: RunView, position: int) -> str:
    """Return a position, counted from 0, and which ones the run has: "position 75 (0-76)"; or a
    token of the answer, "position 79, token 2 of the answer (0-11)"."""
    prompt = len(run.own.run.tokens)
    if position >= prompt:
        last = len(run.answer_tokens) - 1
        return f"position {position}, token {position - prompt} of the answer (0-{last})"
    return f"position {position} (0-{prompt - 1})"
