"""The exit codes of the program."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """Exit codes; part of the command line's contract. A program ended by a signal exits with
    128 plus its number: 129 for a hang-up, 143 for a termination."""

    DONE = 0
    FAULT = 1
    """A bug, an output that cannot be written, or too little memory."""
    USAGE = 2
    """Bad usage or bad input."""
    MODEL = 3
    """The model is missing, cannot be loaded or read, or fails its proof."""
    INTERRUPTED = 130
