"""A run, one of its rows or a reading in the formats that other programs take, as text or as a
file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from engine.errors import BadInput
from engine.events import LoadOptions
from engine.methods.registry import tables_of
from engine.records import LayerReading, Reading, Run, Session
from engine.run_tables import tokens_table
from engine.system.stamps import now
from engine.tables import Table
from tui.sharing.exporting import write_text
from tui.sharing.formats import FIGURES
from tui.sharing.notes import note_lines, position_line
from tui.sharing.renderers.json_lines import json_lines
from tui.sharing.renderers.markdown import escaped, markdown_table
from tui.sharing.renderers.plain import plain_lines
from tui.sharing.renderers.separated import separated
from tui.sharing.reproduce import as_command, as_python
from tui.sharing.run_tables import rows_table
from tui.sharing.text_table import TextTable, plain_table
from tui.state.run_view import RunView
from tui.text.show import plain_line


def row_text(
    view: RunView,
    row: int,
    style: str,
    top_k: int | None = None,
    figures: Sequence[str] = ("entropy",),
    *,
    ascii_only: bool = False,
    raw: bool = False,
) -> str:
    """Return one row of a run below the names of its columns.

    `style` is one of `COPY_FORMATS`; without `top_k`, all tokens that the run holds are included.
    `figures` names the optional columns, which only Markdown shows. With `raw`, CSV and TSV hold
    texts exactly, also those that a spreadsheet would run as formulas.

    Raises IndexError where the row has not been read.
    """
    run = view.frozen()
    return _text(run, [run.rows[row]], style, top_k, figures, ascii_only, raw, _position(view))


def table_text(
    view: RunView,
    style: str,
    top_k: int | None = None,
    figures: Sequence[str] = ("entropy",),
    *,
    ascii_only: bool = False,
    raw: bool = False,
) -> str:
    """Return all rows of a run as they are now; see `row_text` for the arguments.

    Text includes the question, the position if it is not the run's own, the notes on the model and
    the proof, Markdown the position and the notes; CSV, TSV and Markdown have a column with that
    position; JSON is the whole session file, with all positions.
    """
    run = view.frozen()
    if style == "json":
        return _session_json(view.own.frozen()) + "\n"
    where = position_line(view)
    if style == "text":
        return plain_table(run, _shown(run, top_k), where=where, ascii_only=ascii_only)
    text = _text(run, run.rows, style, top_k, figures, ascii_only, raw, _position(view))
    if style == "markdown":
        notes = [*([where] if where else []), *note_lines(run)]
        text += "".join(f"\n{escaped(line)}\n" for line in notes)
    return text


def write_export(
    view: RunView,
    name: str,
    path: Path,
    top_k: int | None = None,
    figures: Sequence[str] = ("entropy",),
    options: LoadOptions | None = None,
    *,
    raw: bool = False,
    beside: Session | None = None,
) -> None:
    """Write a run as one of `FORMATS` except SVG, which is a picture of the screen.

    An existing file is replaced atomically. CSV, TSV and JSON hold all tokens of the run, Markdown
    and text `top_k`; `raw` is as in `row_text`. Figures are of the position shown, pages have
    all. Both also show the runs of `beside` with which the run was compared there.

    Raises BadInput, in one line, for a run that failed its proof or a file that cannot be written.
    """
    if view.refused:
        raise BadInput("this run failed its proof: its rows are not exported")
    run = view.own.frozen()
    match name:
        case "json":
            from engine.sessions import write_session

            write_session(Session(created=run.created, saved=now(), runs=(run,)), path)
            return
        case "html":
            from engine.pages.page import write_page
            from tui.sharing.pages import about_page, with_compared

            write_page(with_compared(run, beside), path, about_page(options))
            return
        case figure if figure in FIGURES:
            from tui.sharing.figures.drawing import FigureOrder, draw_figure

            alone = Session(created=run.created, saved=now(), runs=(run,))
            order = FigureOrder(figure, position=_position(view))
            draw_figure(beside or alone, run, order, path)
            return
        case "csv" | "tsv":
            text = table_text(view, name, raw=raw)
        case "markdown" | "text":
            text = table_text(view, name, top_k, figures)
        case "command":
            # In a script only: many shells do not take a comment that is pasted.
            notes = "".join(f"# {plain_line(line)}\n" for line in note_lines(run))
            text = f"{notes}{as_command(run, options)}\n"
        case "python":
            text = as_python(run, options)
        case _:
            raise ValueError(f"{name}: not a format of a run")
    write_text(path, text)


def reading_text(
    reading: Reading, style: str, *, ascii_only: bool = False, raw: bool = False
) -> str:
    """Return a reading in one of `COPY_FORMATS`: all its tables, one below the other; as JSON,
    the reading as the session holds it."""
    if style == "json":
        from engine.sessions import reading_to_json

        return reading_to_json(reading) + "\n"
    return "\n".join(_titled(table, style, ascii_only, raw) for table in tables_of(reading))


def table_row_text(
    table: Table, row: int, style: str, *, ascii_only: bool = False, raw: bool = False
) -> str:
    """Return one row of a table below the names of its columns; as JSON, an object.

    Raises IndexError where the table has no such row.
    """
    one = replace(table, title="", rows=(table.rows[row],), notes=())
    return _rendered(one, style, ascii_only, raw)


def table_as(table: Table, style: str, *, ascii_only: bool = False, raw: bool = False) -> str:
    """Return a table in one of `COPY_FORMATS`, with its title and notes where the format can show
    them."""
    return _titled(table, style, ascii_only, raw)


def _titled(table: Table, style: str, ascii_only: bool, raw: bool) -> str:
    """Return a table, with its title and notes where the format can show them."""
    text = _rendered(table, style, ascii_only, raw)
    if style != "markdown":
        return text
    title = f"**{escaped(table.title)}**\n\n" if table.title else ""
    notes = "".join(f"\n{escaped(note)}\n" for note in table.notes)
    return title + text + notes


def _rendered(table: Table, style: str, ascii_only: bool, raw: bool) -> str:
    match style:
        case "tsv":
            return separated(table, "\t", raw=raw)
        case "csv":
            return separated(table, ",", raw=raw)
        case "markdown":
            return markdown_table(table, ascii_only=ascii_only)
        case "text":
            return "\n".join(plain_lines(table, ascii_only=ascii_only)) + "\n"
        case "json":
            return json_lines(table)
    raise ValueError(f"{style}: not a format of a table")


def _text(
    run: Run,
    rows: Sequence[LayerReading],
    style: str,
    top_k: int | None,
    figures: Sequence[str],
    ascii_only: bool,
    raw: bool,
    position: int | None,
) -> str:
    match style:
        case "tsv" | "csv":
            return _rendered(tokens_table(rows, top_k, position), style, ascii_only, raw)
        case "markdown":
            table = rows_table(run, rows, _shown(run, top_k), figures, position)
            return _rendered(table, style, ascii_only, raw)
        case "text":
            lines = TextTable(_shown(run, top_k), ascii_only=ascii_only)
            text = [lines.head(), *(lines.row(row) for row in rows)]
            return "\n".join(line.rstrip() for line in text) + "\n"
        case "json":
            held = json.loads(_session_json(run))["runs"][0]["rows"]
            return "".join(json.dumps(held[row.layer]) + "\n" for row in rows)
    raise ValueError(f"{style}: not a format of a table")


def _session_json(run: Run) -> str:
    from engine.sessions import to_json

    return to_json(Session(created=run.created, saved=now(), runs=(run,)), previews=False)


def _position(view: RunView) -> int | None:
    """Return the position of a view's rows; None for the run's own."""
    return None if view.own is view else view.run.position


def _shown(run: Run, top_k: int | None) -> int:
    """Return how many tokens per row are shown."""
    held = max((len(row.top) for row in run.rows), default=1)
    return max(1, min(top_k or held, held))
