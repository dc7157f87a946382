"""Copying over SSH and through tmux to the clipboard of the user's terminal, not just the
server's."""

from __future__ import annotations

import os
import subprocess
import threading

MOST_BYTES = 74_000
"""Terminals drop longer OSC 52 sequences."""


def too_long(text: str) -> bool:
    """Return whether a terminal would drop the text."""
    return len(text.encode("utf-8", "replace")) > MOST_BYTES


def copy_through_tmux(text: str) -> threading.Thread | None:
    """Give the text to tmux, if we run inside it, and return the thread that does so, else None.

    By default tmux drops a program's OSC 52, while `load-buffer -w` passes it on to the terminal.
    """
    if not os.environ.get("TMUX"):
        return None

    def work() -> None:
        try:
            subprocess.run(
                ["tmux", "load-buffer", "-w", "-"],
                input=text.encode("utf-8", "replace"),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=5,
                check=False,
            )
        except (OSError, subprocess.SubprocessError):
            return

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread
