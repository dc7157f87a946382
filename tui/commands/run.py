"""`lenscope run`: the explorer's question, records and file without the explorer.

stdout is data (a table, or the session as JSON), stderr is talk.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from engine.errors import BadInput
from engine.events import LoadOptions
from engine.records import (
    Comparison,
    Counterfactual,
    LayerReading,
    Picture,
    Question,
    Run,
    Session,
)
from engine.system.files import reason_of, user_path
from engine.system.stamps import now
from tui.commands.exits import Exit
from tui.commands.talk import clear_progress, model_line, progress, say
from tui.sharing.against_table import against_lines
from tui.sharing.text_table import PLAIN_WIDTH, TextTable

if TYPE_CHECKING:
    from engine.lens.kept import KeptStream
    from engine.models.loading import LoadedModel


def run_headless(
    options: LoadOptions,
    question: Question,
    picture_if_any: bool,
    json_path: str | None,
    previews: bool,
    against: Sequence[Counterfactual] = (),
) -> int:
    """Load, ask, print; the exit code. `picture_if_any`: the bundled one if the model takes any.
    `against`: what to put in the picture's stead, each as a run of its own.

    Raises what loading and asking raise.
    """
    if json_path is not None and json_path != "-":
        refusal = _cannot_be_written(json_path)
        if refusal is not None:
            say(refusal)
            return Exit.FAULT
    from engine.asking.asking import Asking
    from engine.models.loading import load_with

    loaded = load_with(options, progress)
    clear_progress()
    say(model_line(loaded))
    if picture_if_any and loaded.takes_pictures:
        from msgspec import structs

        import samples

        question = structs.replace(question, picture=Picture(path=str(samples.DEFAULT_PICTURE)))
    if against and question.picture is None:
        raise BadInput(
            "--against needs a picture"
            if loaded.takes_pictures
            else f"--against: {loaded.name} takes no pictures"
        )
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
    runs: list[Run] = [run]
    comparisons: list[Comparison] = []
    if against:
        assert asking.kept is not None
        runs, comparisons = _ask_against(loaded, run, asking.kept, against, table is not None)
        if all(comparison.unavailable for comparison in comparisons):
            raise BadInput("; ".join(str(comparison.unavailable) for comparison in comparisons))
    if json_path is not None:
        return _write(runs, comparisons, json_path, previews)
    return Exit.DONE


def _ask_against(
    loaded: LoadedModel,
    picture: Run,
    kept: KeptStream,
    counterfactuals: Sequence[Counterfactual],
    prints: bool,
) -> tuple[list[Run], list[Comparison]]:
    """The picture's run and those without it, and how each differs from it."""
    from engine.methods.against import Against, Listener, ask_against

    found: dict[str, tuple[Run, Comparison]] = {}

    def ended(against: Against, run: Run, comparison: Comparison) -> None:
        found[against.run_id] = run, comparison
        if comparison.unavailable is not None:
            say(comparison.unavailable)
        elif run.status != "done":
            say(run.error or run.status)

    againsts = [Against(loaded, picture, kept, each) for each in counterfactuals]
    ask_against(againsts, Listener(ended=ended))
    # In the order in which they were asked for, whichever went together.
    ordered = [found[against.run_id] for against in againsts]
    runs = [picture, *(run for run, _ in ordered)]
    comparisons = [comparison for _, comparison in ordered]
    if prints:
        _print("", *against_lines(runs, comparisons))
    return runs, comparisons


class Table:
    """Prints rows as they are read: plain text, no colour, sized to the terminal."""

    def __init__(self, top_k: int) -> None:
        width = shutil.get_terminal_size((PLAIN_WIDTH, 24)).columns
        self._lines = TextTable(
            top_k,
            width if sys.stdout.isatty() else PLAIN_WIDTH,
            ascii_only="utf" not in (sys.stdout.encoding or "").lower(),
        )

    def start(self, run: Run) -> None:
        """The question, then the head of the table."""
        _print(*self._lines.start(run))

    def add(self, rows: Sequence[LayerReading]) -> None:
        """One line per row."""
        _print(*(self._lines.row(row) for row in rows))

    def end(self, run: Run) -> None:
        """The answer and the proof."""
        _print(*self._lines.end(run))


def _write(
    runs: Sequence[Run], comparisons: Sequence[Comparison], path: str, previews: bool
) -> int:
    from engine.sessions import to_json, write_session

    session = Session(
        created=runs[0].created, saved=now(), runs=tuple(runs), comparisons=tuple(comparisons)
    )
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


def _print(*lines: str) -> None:
    for line in lines:
        print(line, flush=True)
