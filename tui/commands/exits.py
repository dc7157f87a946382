"""How the program can end."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """Exit codes; part of the command line's contract. What ends by a signal exits with 128 + its
    number: 129 hang-up, 143 terminated."""

    DONE = 0
    FAULT = 1
    """A fault of ours, an output that cannot be written, memory that ran out."""
    USAGE = 2
    """Bad usage or bad input."""
    MODEL = 3
    """The model is missing, cannot be loaded or read, or fails its proof."""
    INTERRUPTED = 130
