"""A run, or one row of it, in the formats that other programs take: as text, or in a file."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from engine.errors import BadInput
from engine.events import LoadOptions
from engine.records import LayerReading, Run, Session
from engine.system.stamps import now
from tui.sharing.exporting import write_text
from tui.sharing.markdown import markdown_table
from tui.sharing.reproduce import as_command, as_python
from tui.sharing.text_table import TextTable, plain_table
from tui.state.run_view import RunView

COPY_FORMATS: Final = {
    "tsv": "a line a row and token, for spreadsheets",
    "csv": "the same, with commas",
    "markdown": "a table as on the screen",
    "text": "as `lenscope run` prints it",
    "json": "the run as a session, all of it",
}
"""What a table can be copied as, and what that is."""

COLUMNS: Final = (
    "layer", "rank", "id", "token", "probability", "logit", "entropy", "rms", "kl_to_last",
    "answer_probability", "answer_rank",
)  # fmt: skip
"""The columns of TSV and CSV."""


def row_text(
    view: RunView,
    row: int,
    style: str,
    top_k: int | None = None,
    figures: Sequence[str] = ("entropy",),
    *,
    ascii_only: bool = False,
) -> str:
    """Return one row of a run, below the names of its columns.

    `style` is one of `COPY_FORMATS`; without `top_k` all tokens that the run holds. `figures` are
    the columns by choice, which Markdown has. Raises IndexError where the row has not been read.
    """
    run = view.frozen()
    return _text(run, [run.rows[row]], style, top_k, figures, ascii_only)


def table_text(
    view: RunView,
    style: str,
    top_k: int | None = None,
    figures: Sequence[str] = ("entropy",),
    *,
    ascii_only: bool = False,
) -> str:
    """Return all rows of a run as they are now; see `row_text`. Text has the question and the
    proof too, JSON is the whole session file."""
    run = view.frozen()
    if style == "text":
        return plain_table(run, _shown(run, top_k), ascii_only=ascii_only)
    if style == "json":
        return _session_json(run) + "\n"
    return _text(run, run.rows, style, top_k, figures, ascii_only)


def write_export(
    view: RunView,
    name: str,
    path: Path,
    top_k: int | None = None,
    figures: Sequence[str] = ("entropy",),
    options: LoadOptions | None = None,
) -> None:
    """Write a run as one of `EXPORTS`, SVG aside, which is the screen's. Replaces what is there,
    atomically. CSV, TSV and JSON hold all tokens of the run, Markdown and text `top_k`.

    Raises BadInput, one line: a run that failed its proof, a file that cannot be written.
    """
    if view.refused:
        raise BadInput("this run failed its proof: its rows are not exported")
    run = view.frozen()
    match name:
        case "json":
            from engine.sessions import write_session

            write_session(Session(created=run.created, saved=now(), runs=(run,)), path)
            return
        case "csv" | "tsv":
            text = table_text(view, name)
        case "markdown" | "text":
            text = table_text(view, name, top_k, figures)
        case "command":
            text = as_command(run, options) + "\n"
        case "python":
            text = as_python(run, options)
        case _:
            raise ValueError(f"{name}: not a format of a run")
    write_text(path, text)


def _text(
    run: Run,
    rows: Sequence[LayerReading],
    style: str,
    top_k: int | None,
    figures: Sequence[str],
    ascii_only: bool,
) -> str:
    match style:
        case "tsv" | "csv":
            return _separated(rows, "\t" if style == "tsv" else ",", top_k)
        case "markdown":
            return markdown_table(run, rows, _shown(run, top_k), figures, ascii_only=ascii_only)
        case "text":
            table = TextTable(_shown(run, top_k), ascii_only=ascii_only)
            lines = [table.head(), *(table.row(row) for row in rows)]
            return "\n".join(line.rstrip() for line in lines) + "\n"
        case "json":
            held = json.loads(_session_json(run))["runs"][0]["rows"]
            return "".join(json.dumps(held[row.layer]) + "\n" for row in rows)
    raise ValueError(f"{style}: not a format of a table")


def _session_json(run: Run) -> str:
    from engine.sessions import to_json

    return to_json(Session(created=run.created, saved=now(), runs=(run,)), previews=False)


def _shown(run: Run, top_k: int | None) -> int:
    """Tokens per row."""
    held = max((len(row.top) for row in run.rows), default=1)
    return max(1, min(top_k or held, held))


def _separated(rows: Sequence[LayerReading], mark: str, top_k: int | None) -> str:
    """A line a row and token. Tokens are exactly what they are, also where they begin with = or
    another sign that a spreadsheet would take for a formula: a sign put ahead of them would be
    read back as part of the token. Import the column as text."""
    lines: list[tuple[object, ...]] = [COLUMNS]
    for row in rows:
        answer = row.answer
        behind = (
            _finite(row.entropy),
            _finite(row.rms),
            _finite(row.kl_to_last),
            None if answer is None else answer.probability,
            None if answer is None else answer.rank,
        )
        for rank, token in enumerate(row.top[:top_k], 1):
            what = (row.layer, rank, token.id, token.text)
            lines.append((*what, token.probability, _finite(token.logit), *behind))
    return "".join(_line(fields, mark) + "\n" for fields in lines)


def _line(fields: Iterable[object], mark: str) -> str:
    # The writer quotes \r and \n only where they are in its own line ending.
    buffer = io.StringIO()
    csv.writer(buffer, delimiter=mark, lineterminator="\r\n").writerow(fields)
    return buffer.getvalue().removesuffix("\r\n")


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
