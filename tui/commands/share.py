"""`lenscope share`: a session as one HTML file to send, or a figure of one of its runs. No model is
loaded."""

from __future__ import annotations

import sys
from pathlib import Path

from engine.errors import BadInput
from engine.pages.opening import open_session
from engine.pages.page import page_pieces, write_page
from engine.system.files import storable, user_path
from tui.commands.exits import Exit
from tui.commands.talk import say
from tui.sharing.pages import about_page
from tui.text.numbers import count_of_runs

ENDINGS_OF_FIGURES = (".pdf", ".svg", ".png", ".gif")
LARGE = 1_500_000
"""Bytes a run from which on it is said why a page is large."""


def run_share(session: str, out: str, *, previews: bool) -> int:
    """Read a session, or a page, and write it as a page; "-" is stdout. Returns the exit code.

    Raises BadInput, in one line, for what is no session or cannot be written.
    """
    found = open_session(session)
    if out == "-":
        for piece in page_pieces(found, about_page(), previews=previews):
            sys.stdout.write(piece)
        return Exit.DONE
    if _same(session, out):
        raise BadInput(f"{out}: this is the session itself: name another file for the page")
    size = write_page(found, out, about_page(), previews=previews)
    line = f"wrote {storable(out)}: {count_of_runs(len(found.runs))}, {size / 1e6:.1f} MB"
    if size > LARGE * max(1, len(found.runs)):
        line += " (maps of every head and tables of every cell take most of it)"
    say(line)
    return Exit.DONE


def share_figure(
    session: str,
    out: Path,
    *,
    run_id: str | None,
    name: str,
    columns: int,
    of: str,
    row: int | None,
) -> int:
    """Draw a figure of a run of a session, the last one with its own picture if `run_id` is
    None; the rest is as in
    `FigureOrder`. Returns the exit code.

    Raises BadInput, in one line, for what is no session, has no such run, or cannot be drawn.
    """
    from tui.sharing.figures.drawing import FigureOrder, draw_figure

    found = open_session(session)
    runs = [each for each in found.runs if run_id in (None, each.id)]
    if run_id is None:  # counterfactuals come last, and the figure is of what they stand beside
        runs = [each for each in runs if each.question.counterfactual is None] or runs
    if not runs:
        known = ", ".join(each.id for each in found.runs) or "none"
        raise BadInput(f"{session}: there is no such run; it has {known}")
    if _same(session, str(out)):
        raise BadInput(f"{out}: this is the session itself: name another file for the figure")
    draw_figure(found, runs[-1], FigureOrder(name, columns, of, row), user_path(out))
    say(f"wrote {storable(str(out))}")
    return Exit.DONE


def _same(one: str, other: str) -> bool:
    try:
        return user_path(one).samefile(user_path(Path(other)))
    except OSError:
        return False
