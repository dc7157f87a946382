"""Asks for the tags and the note of a run, in one line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from textual.app import App

from tui.state.run_view import RunView
from tui.state.view_state import ViewState
from tui.widgets.line_input import LineInput


def ask_note(
    app: App[Any],
    state: ViewState,
    run: RunView,
    then: Callable[[], object],
    *,
    ascii_only: bool,
) -> None:
    """Ask for a line whose words with a # are tags and whose others are the note; keep both."""

    def take(line: str | None) -> None:
        if line is not None:
            state.annotate(run, line)
            then()

    tags = [f"#{tag}" for tag in run.run.tags]
    line = " ".join([*tags, *([run.run.note] if run.run.note else [])])
    app.push_screen(
        LineInput("tags and a note, such as: #wrong sees two", line, ascii_only=ascii_only), take
    )
