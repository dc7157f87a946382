"""The words that something promotes or suppresses, in one line. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len

from engine.methods.parts import Pushed
from tui.text.numbers import signed_figure
from tui.text.show import display_text


def pushed_line(name: str, words: Sequence[Pushed], width: int, *, ascii_only: bool) -> str:
    """Return such as "promotes  ·red +1.20  ·blue +0.31" with as many words as fit whole; safe for
    display."""
    line = f"{name:<11}"
    for word in words:
        token = display_text(word.text, ascii_only=ascii_only)
        more = f"{token} {signed_figure(word.logit)}  "
        if cell_len(line) + cell_len(more) - 2 > width:
            break
        line += more
    return line.rstrip()
