"""Copying over SSH and through tmux or GNU screen to the clipboard of the user's terminal, not
just the server's."""

from __future__ import annotations

import base64
import os
import subprocess
import threading
from collections.abc import Callable

MOST_BYTES = 74_000
"""Terminals drop longer OSC 52 sequences."""


_MOST_OF_A_STRING = 700
"""GNU screen drops control strings of 768 bytes and more."""


def through_screen(text: str) -> str | None:
    """Return what copies the text where GNU screen passes our output on, else None.

    Screen swallows OSC 52, while it passes the content of a device control string on as it is; long
    ones are cut into several, which the terminal sees as one sequence. Inside a tmux that was
    started in screen this is ignored.
    """
    if "STY" not in os.environ:
        return None
    sequence = _osc_52(text)
    pieces = (
        sequence[start : start + _MOST_OF_A_STRING]
        for start in range(0, len(sequence), _MOST_OF_A_STRING)
    )
    return "".join(f"\x1bP{piece}\x1b\\" for piece in pieces)


def _osc_52(text: str) -> str:
    copied = base64.b64encode(text.encode("utf-8", "replace")).decode()
    return f"\x1b]52;c;{copied}\a"


def too_long(text: str) -> bool:
    """Return whether a terminal would drop the text."""
    return len(text.encode("utf-8", "replace")) > MOST_BYTES


def copy_through_tmux(text: str, write: Callable[[str], object]) -> threading.Thread | None:
    """Give the text to tmux, if we run inside it, and return the thread that does so, else None.

    By default tmux drops a program's OSC 52, while `load-buffer -w` passes it on to the terminal.
    Before 3.2 it does not know -w, and passes on what is wrapped for it; `write` sends that.
    """
    if not os.environ.get("TMUX"):
        return None

    def work() -> None:
        try:
            done = subprocess.run(
                ["tmux", "load-buffer", "-w", "-"],
                input=text.encode("utf-8", "replace"),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=5,
                check=False,
            )
        except (OSError, subprocess.SubprocessError):
            return
        if done.returncode:
            write(f"\x1bPtmux;\x1b{_osc_52(text)}\x1b\\")

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread
