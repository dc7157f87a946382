"""`lenscope run`: the explorer's question, records and file without the explorer.

stdout is data (a table, or the session as JSON), stderr is talk.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence

from engine.errors import BadInput
from engine.events import LoadOptions
from engine.files import reason_of, user_path
from engine.records import LayerReading, Picture, Question, Run, Session
from engine.stamps import now
from tui.commands.exits import Exit
from tui.commands.talk import clear_progress, model_line, progress, say
from tui.numbers import FIGURE_WIDTH, figure
from tui.panes.bars import probability_bar
from tui.show import display_text

PLAIN_WIDTH = 100
"""Columns of the table where stdout is no terminal."""


def run_headless(
    options: LoadOptions,
    question: Question,
    picture_if_any: bool,
    json_path: str | None,
    previews: bool,
) -> int:
    """Load, ask, print; the exit code. `picture_if_any`: the bundled one if the model takes any.

    Raises what loading and asking raise.
    """
    if json_path is not None and json_path != "-":
        refusal = _cannot_be_written(json_path)
        if refusal is not None:
            say(refusal)
            return Exit.FAULT
    from engine.asking import Asking
    from engine.loading import load_with

    loaded = load_with(options, progress)
    clear_progress()
    say(model_line(loaded))
    if picture_if_any and loaded.takes_pictures:
        from msgspec import structs

        import samples

        question = structs.replace(question, picture=Picture(path=str(samples.DEFAULT_PICTURE)))
    if question.chat and not loaded.has_chat_template:
        say("this model has no chat template: asked raw")
    table = None if json_path is not None else Table(question.top_k)
    asking = Asking(loaded, question)
    if table is not None:
        run = asking.run(started=table.start, read=table.add)
        table.end(run)
    else:
        run = asking.run()
    if run.status != "done":
        say(run.error or run.status)
        return Exit.MODEL if run.proof is not None else Exit.FAULT
    if json_path is not None:
        return _write(run, json_path, previews)
    return Exit.DONE


class Table:
    """Prints rows as they are read: plain text, no colour, sized to the terminal."""

    def __init__(self, top_k: int) -> None:
        width = shutil.get_terminal_size((PLAIN_WIDTH, 24)).columns
        width = width if sys.stdout.isatty() else PLAIN_WIDTH
        self._top_k = top_k
        self._ascii = "utf" not in (sys.stdout.encoding or "").lower()
        cell = (width - 6 - 8) // top_k - 2
        self._bar = max(0, min(10, cell - FIGURE_WIDTH - 12))
        self._token = max(6, min(24, cell - FIGURE_WIDTH - self._bar - 2))

    def start(self, run: Run) -> None:
        """The question, then the head of the table."""
        picture = run.question.picture
        if picture is not None:
            _print(f"picture  {self._safe(picture.path)}  {picture.width}x{picture.height}")
        _print(f"prompt   {self._safe(run.question.prompt)}")
        counted = f"{len(run.tokens)} tokens"
        images = sum(token.kind == "image" for token in run.tokens)
        _print(f"input    {counted}, {images} of the picture" if images else f"input    {counted}")
        _print()
        cell = self._token + self._bar + FIGURE_WIDTH + 2
        heads = "  ".join(f"top-{rank}".ljust(cell) for rank in range(1, self._top_k + 1))
        _print(f"layer  {heads}  entropy")

    def add(self, rows: Sequence[LayerReading]) -> None:
        """One line per row."""
        for row in rows:
            cells = "  ".join(self._cell(row, rank) for rank in range(self._top_k))
            entropy = "-" if row.entropy is None else f"{row.entropy:.3f}"
            note = f"  ({row.approximate})" if row.approximate else ""
            _print(f"{row.layer:>5}  {cells}  {entropy:>7}{note}")

    def end(self, run: Run) -> None:
        """The answer and the proof."""
        if run.status != "done" or run.proof is None:
            return
        _print()
        top = run.rows[-1].top[0]
        _print(
            f"answer   {self._safe(top.text, spaces=True)}  {figure(top.probability).strip()}"
            f"  (id {top.id})"
        )
        if not run.question.norm:
            _print(
                f"norm     off for rows 0 to {run.layers - 1}; "
                f"row {run.layers} is the model's own, with its norm"
            )
        gap = run.proof.max_abs_difference
        _print(
            f"proof    passed: the last row is the model's own output "
            f"(largest difference {0.0 if gap is None else gap:.2g}, "
            f"tolerance {run.proof.tolerance:.2g}, by {run.proof.method})"
        )

    def _cell(self, row: LayerReading, rank: int) -> str:
        if rank >= len(row.top):
            return " " * (self._token + self._bar + FIGURE_WIDTH + 2)
        token = row.top[rank]
        text = display_text(token.text, self._token, ascii_only=self._ascii)
        bar = probability_bar(token.probability, self._bar, ascii_only=self._ascii)
        return f"{text} {bar} {figure(token.probability)}"

    def _safe(self, text: str, spaces: bool = False) -> str:
        return display_text(text, spaces=spaces, ascii_only=self._ascii)


def _write(run: Run, path: str, previews: bool) -> int:
    from engine.sessions import to_json, write_session

    session = Session(created=run.created, saved=now(), runs=(run,))
    if path == "-":
        print(to_json(session, previews), flush=True)
        return Exit.DONE
    try:
        write_session(session, path, previews)
    except BadInput as error:
        say(str(error))
        return Exit.FAULT
    say(f"saved {path}")
    return Exit.DONE


def _cannot_be_written(name: str) -> str | None:
    """Why this file cannot be written, seen before a model is loaded."""
    try:
        path = user_path(name)
        if path.is_dir():
            return f"{name}: a folder; name a file for the JSON"
        if path.exists() and not path.is_file():
            return f"{name}: not a regular file"
        if not path.parent.is_dir():
            return f"{name}: no such folder to write to"
        if not os.access(path.parent, os.W_OK):
            return f"{name}: the folder cannot be written to"
    except (OSError, ValueError) as error:
        return f"{name}: cannot be written ({reason_of(error)})"
    return None


def _print(text: str = "") -> None:
    print(text, flush=True)
