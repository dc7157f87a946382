"""What the environment says about the terminal."""

from __future__ import annotations

import os
import sys

_DUMB = frozenset({"dumb", "emacs"})


def is_dumb() -> bool:
    """Whether the terminal only prints: it shows escape sequences as letters, as Emacs' shell
    does."""
    term = os.environ.get("TERM", "").lower()
    return term in _DUMB or term.startswith("dumb-")


def can_redraw_messages() -> bool:
    """Whether stderr is a terminal on which a line can be written over."""
    return sys.stderr.isatty() and not is_dumb()


def prefer_the_terminals_size() -> None:
    """Forget `COLUMNS` and `LINES` where the terminal itself tells its size.

    Shells and `docker exec -e` pass on what was true when they started, or of another terminal, and
    every library prefers it to the terminal's own size. A serial line that knows no size keeps
    them.
    """
    for stream in (sys.stdout, sys.stderr, sys.stdin):
        try:
            columns, lines = os.get_terminal_size(stream.fileno())
        except (OSError, ValueError):  # no terminal
            continue
        if columns and lines:
            os.environ.pop("COLUMNS", None)
            os.environ.pop("LINES", None)
            return
