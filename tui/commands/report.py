"""`lenscope report`: what a sweep shows, on the terminal, as Markdown with figures, as numbers.

No model is loaded and torch is not imported.
"""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import BadInput
from engine.files import reason_of, user_path, write_file
from engine.sweeps.comparing import Comparison, compare
from engine.sweeps.export import ITEMS, NUMBERS, item_rows, numbers, write_lines
from engine.sweeps.figures import draw
from engine.sweeps.findings import Findings, find
from engine.sweeps.report import Section, Table, comparison_section, sections
from engine.sweeps.results import read_results
from engine.sweeps.store import read_failures, read_items
from tui.commands.exits import Exit
from tui.commands.talk import say
from tui.sharing.report_markdown import report_markdown
from tui.sharing.text_table import PLAIN_WIDTH
from tui.show import plain_line

if TYPE_CHECKING:
    from rich.console import Console

REPORT = "report"
"""The folder inside a sweep's where a report goes."""


@dataclass(frozen=True)
class ReportOrder:
    """What the command line asks for."""

    folder: str
    against: str | None = None
    out: str | None = None
    write: bool = False
    """Write the report, not only show it; `out` says where."""
    figures: str | None = "svg"
    export: str | None = None
    top_k: int = 3
    samples: int = 1000
    seed: int = 0


def run_report(order: ReportOrder) -> int:
    """Compute, show, and write; the exit code. Raises BadInput for folders without results."""
    results = read_results(order.folder)
    findings = find(results, order.top_k, order.samples, order.seed)
    comparison = None
    if order.against is not None:
        other = read_results(order.against)
        comparison = compare(results, other, order.top_k, order.samples, order.seed)
    shown = list(sections(findings))
    if comparison is not None:
        shown.insert(1, comparison_section(comparison))
    show(shown)
    failures = read_failures(user_path(order.folder))
    if failures:
        say(f"{len(failures):,} questions could not be asked: {order.folder}/failures.jsonl")
    if order.write or order.out or order.export:
        return _write(order, findings, comparison, shown)
    return Exit.DONE


def show(shown: list[Section]) -> None:
    """Print sections; plain where stdout is no terminal."""
    console = _console()
    for section in shown:
        console.print()
        console.print(plain_line(section.title), style="bold", markup=False, highlight=False)
        console.print(plain_line(section.words), markup=False, highlight=False)
        for table in section.tables:
            _print_table(console, table)
        for note in section.notes:
            console.print(f"  {plain_line(note)}", markup=False, highlight=False)


def _console() -> Console:
    from rich.console import Console

    width = shutil.get_terminal_size((PLAIN_WIDTH, 24)).columns if sys.stdout.isatty() else 160
    return Console(width=width, soft_wrap=False)


def _print_table(console: Console, table: Table) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table as RichTable
    from rich.text import Text

    drawn = RichTable(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), header_style="dim")
    for index, head in enumerate(table.heads):
        drawn.add_column(
            Text(plain_line(head)), justify="right" if index else "left", overflow="fold"
        )
    for row in table.rows:
        drawn.add_row(*(Text(plain_line(cell)) for cell in row))
    console.print(drawn)


def _write(
    order: ReportOrder,
    findings: Findings,
    comparison: Comparison | None,
    shown: list[Section],
) -> int:
    source = user_path(order.folder)
    folder = user_path(order.out) if order.out else source / REPORT
    kind = order.export or "csv"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        figures: dict[str, Path] = {}
        if order.figures is not None:
            try:
                figures = draw(findings, folder, order.figures)
            except BadInput as error:
                say(str(error))
        title = (
            f"What {findings.results.sweep.model.name} says of {findings.results.sweep.data.path}"
        )
        text = report_markdown(title, shown, figures)
        write_file(folder / "report.md", text.encode())
        write_lines(numbers(findings, comparison), NUMBERS, folder / f"numbers.{kind}")
        if order.export is not None:
            write_lines(item_rows(read_items(source)), ITEMS, folder / f"items.{kind}")
    except OSError as error:
        say(f"{folder}: the report cannot be written ({reason_of(error)})")
        return Exit.FAULT
    say(f"written to {folder}: {', '.join(sorted(each.name for each in folder.iterdir()))}")
    return Exit.DONE
