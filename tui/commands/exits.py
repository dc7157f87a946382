"""How the program can end."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """Exit codes; part of the command line's contract."""

    DONE = 0
    FAULT = 1
    """A fault of ours, an output that cannot be written, memory that ran out."""
    USAGE = 2
    """Bad usage or bad input."""
    MODEL = 3
    """The model is missing, cannot be loaded or read, or fails its proof."""
    HANGUP = 129
    INTERRUPTED = 130
    TERMINATED = 143
