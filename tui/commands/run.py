"""`lenscope run`: one question asked without the explorer, with the same records and session file.

Data (a table, or the session as JSON) goes to stdout, messages go to stderr.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from engine.errors import BadInput, CannotRead
from engine.events import LoadOptions
from engine.records import (
    Comparison,
    Counterfactual,
    LayerReading,
    Picture,
    Question,
    Request,
    Run,
    Session,
)
from engine.system.files import reason_of, user_path
from engine.system.stamps import now
from tui.commands.exits import Exit
from tui.commands.talk import clear_progress, model_line, progress, say
from tui.sharing.against_table import against_lines
from tui.sharing.text_table import PLAIN_WIDTH, TextTable, reading_lines
from tui.text.remedies import error_line, with_flags
from tui.text.show import plain_line

if TYPE_CHECKING:
    from engine.methods.asked_run import AskedRun
    from engine.methods.method import Subject
    from engine.models.loading import LoadedModel


def run_headless(
    options: LoadOptions,
    question: Question,
    picture_if_any: bool,
    json_path: str | None,
    previews: bool,
    against: Sequence[Counterfactual] = (),
    reads: Sequence[Request] = (),
    lists_methods: bool = False,
    seed: int = 0,
) -> int:
    """Load a model, ask the question, read with methods and print; return the exit code.

    `picture_if_any`: use the bundled picture if the model takes pictures. `against`: what to show
    instead of the picture, each in a run of its own. `reads`: what to ask of methods; the runs that
    they compare with are asked as well, with noise from `seed`. `lists_methods`: print what each
    method can do with this model, and ask nothing.

    Raises what loading and asking raise.
    """
    if json_path is not None and json_path != "-":
        refusal = _cannot_be_written(json_path)
        if refusal is not None:
            say(refusal)
            return Exit.FAULT
    from engine.asking.asking import Asking
    from engine.methods.asked_run import AskedRun
    from engine.models.importing import import_and_load

    loaded = import_and_load(options, progress)
    clear_progress()
    say(model_line(loaded))
    for note in loaded.card.notes:
        say(f"note: {note}")
    question = _with_bundled_picture(question, loaded) if picture_if_any else question
    if against and question.picture is None:
        raise BadInput(
            "--against needs a picture"
            if loaded.takes_pictures
            else f"--against: {loaded.name} takes no pictures"
        )
    if question.chat and not loaded.has_chat_template:
        say("this model has no chat template: asked raw")
    asking = Asking(loaded, question)
    if lists_methods:
        _print(*methods_lines(AskedRun(asking, asking.prepare()).subject))
        return Exit.DONE
    table = None if json_path is not None else RunningTable(question.top_k)
    if table is not None:
        run = asking.run(started=table.start, read=table.add)
        table.end(run)
    else:
        run = asking.run()
        if run.question.picture is not None and run.question.picture.note:
            say(f"{run.question.picture.path}: {run.question.picture.note}")
    if run.status != "done":
        say(with_flags(run.error or run.status, asking.remedies))
        return Exit.MODEL if run.proof is not None else Exit.FAULT
    asked = AskedRun(asking, run, seed)
    if against:
        _ask_against(asked, against, prints=table is not None)
    code = _read(asked, reads, prints=table is not None)
    if json_path is not None:
        written = _write([asked.run, *asked.others], asked.comparisons, json_path, previews)
        return written if written != Exit.DONE else code
    return code


def methods_lines(subject: Subject) -> list[str]:
    """Return one line per method: its arguments, and what it finds or why it cannot be used
    here."""
    from engine.methods.registry import method_names, method_of
    from engine.methods.requests import described

    lines: list[str] = []
    for name in method_names():
        method = method_of(name)
        reason = method.supports(subject)
        what = method.title if reason is None else f"not here: {reason}"
        lines.append(plain_line(f"{name:<10} {what} ({described(method)})"))
    return lines


def _with_bundled_picture(question: Question, loaded: LoadedModel) -> Question:
    if not loaded.takes_pictures:
        return question
    from msgspec import structs

    import samples

    return structs.replace(question, picture=Picture(path=str(samples.DEFAULT_PICTURE)))


def _ask_against(asked: AskedRun, counterfactuals: Sequence[Counterfactual], prints: bool) -> None:
    """Ask without the picture and print how each run differs.

    Raises BadInput where none can be asked.
    """
    asked.ask_against(counterfactuals)
    for run, comparison in zip(asked.others, asked.comparisons, strict=True):
        if comparison.unavailable is not None:
            say(comparison.unavailable)
        elif run.status != "done":
            say(with_flags(run.error or run.status, asked.remedies[run.id]))
    if prints:
        _print("", *against_lines([asked.run, *asked.others], asked.comparisons))
    if all(comparison.unavailable for comparison in asked.comparisons):
        raise BadInput("; ".join(str(each.unavailable) for each in asked.comparisons))


def _read(asked: AskedRun, requests: Sequence[Request], prints: bool) -> Exit:
    """Let each method read. A method that cannot gets a line on stderr, and the others still
    run."""
    from engine.methods.registry import method_for

    code = Exit.DONE
    for request in requests:
        method = method_for(request)
        try:
            reading = asked.read(method, request)
        except CannotRead as error:
            say(error_line(error))
            code = Exit.MODEL
            continue
        except BadInput as error:
            say(f"{method.name}: {error_line(error)}")
            code = code if code != Exit.DONE else Exit.USAGE
            continue
        if reading.proof is not None and not reading.proof.passed:
            say(f"{method.name}: its proof failed: {reading.proof.what}")
            code = Exit.MODEL
        if prints:
            _print(*reading_lines(reading))
    return code


class RunningTable:
    """Prints rows as they are read, as plain text that fits the terminal."""

    def __init__(self, top_k: int) -> None:
        width = shutil.get_terminal_size((PLAIN_WIDTH, 24)).columns
        self._lines = TextTable(
            top_k,
            width if sys.stdout.isatty() else PLAIN_WIDTH,
            ascii_only="utf" not in (sys.stdout.encoding or "").lower(),
        )

    def start(self, run: Run) -> None:
        """Print the question and the head of the table."""
        _print(*self._lines.start(run))

    def add(self, rows: Sequence[LayerReading]) -> None:
        """Print one line per row."""
        _print(*(self._lines.row(row) for row in rows))

    def end(self, run: Run) -> None:
        """Print the answer and the proof."""
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
    """Return why this file cannot be written, or None; checked before a model is loaded."""
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
