"""`lenscope report`: what a sweep found, on the terminal, as Markdown with figures, and as numbers.

No model is loaded and torch is not imported.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.errors import BadInput
from engine.sweeps.comparing import SweepComparison, compare_sweeps
from engine.sweeps.export import (
    ANSWERS,
    ATTENTION,
    DEPTH,
    ITEMS,
    NUMBERS,
    REPLACED,
    answer_rows,
    attention_rows,
    depth_rows,
    item_rows,
    numbers,
    replaced_rows,
    write_lines,
)
from engine.sweeps.figures import draw
from engine.sweeps.findings import Findings, find
from engine.sweeps.report import (
    MOST_ROWS,
    comparison_section,
    report_title,
    rows_that_fit,
    sections,
)
from engine.sweeps.results import read_results
from engine.sweeps.section import Section
from engine.sweeps.store import FAILURES, count_failures, read_items, remove_stale
from engine.system.files import reason_of, user_path, write_file
from tui.commands.exits import Exit
from tui.commands.talk import say
from tui.sharing.report_lines import report_lines
from tui.sharing.report_markdown import report_markdown

PIPED_WIDTH = 160
"""Wide enough that no table has to be folded."""
REPORT = "report"
"""The folder, within a sweep's folder, to which a report is written."""


@dataclass(frozen=True)
class ReportOrder:
    """The options of `lenscope report`."""

    folder: str
    against: str | None = None
    out: str | None = None
    write: bool = False
    """Whether to write the report as well as show it; `out` says where."""
    figures: str | None = "svg"
    export: str | None = None
    raw_cells: bool = False
    """Whether CSV holds texts exactly, also those that a spreadsheet takes for formulas."""
    top_k: int = 3
    samples: int = 1000
    seed: int = 0


def run_report(order: ReportOrder) -> int:
    """Compute, show and write a report; return the exit code.

    Raises BadInput for folders without results.
    """
    results = read_results(order.folder)
    findings = find(results, order.top_k, order.samples, order.seed)
    comparison = None
    if order.against is not None:
        other = read_results(order.against)
        comparison = compare_sweeps(results, other, order.top_k, order.samples, order.seed)
    width = page_width()
    show(_report(findings, comparison, rows_that_fit(width)), width)
    failed, _ = count_failures(user_path(order.folder))
    if failed:
        say(f"{failed:,} could not be asked: see {order.folder}/{FAILURES}")
    if order.write or order.out or order.export:
        return _write(order, findings, comparison)
    return Exit.DONE


def page_width() -> int:
    """Return the terminal's width, or a wide one where stdout is no terminal."""
    wide = (PIPED_WIDTH, 24)
    return shutil.get_terminal_size(wide).columns if sys.stdout.isatty() else PIPED_WIDTH


def show(shown: Sequence[Section], width: int) -> None:
    """Print sections, without colours where stdout is no terminal."""
    from rich.console import Console

    console = Console(width=width, highlight=False)
    ascii_only = "utf" not in (sys.stdout.encoding or "").lower()
    for line in report_lines(shown, ascii_only=ascii_only):
        console.print(line)


def _report(
    findings: Findings, comparison: SweepComparison | None, most_rows: int
) -> tuple[Section, ...]:
    first, *others = sections(findings, most_rows)
    compared = [] if comparison is None else [comparison_section(comparison)]
    return (first, *compared, *others)


def _write(
    order: ReportOrder,
    findings: Findings,
    comparison: SweepComparison | None,
) -> int:
    source = user_path(order.folder)
    folder = user_path(order.out) if order.out else source / REPORT
    kind = order.export or "csv"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if folder == source / REPORT:  # ours alone
            remove_stale(folder)
        figures: dict[str, Path] = {}
        if order.figures is not None:
            try:
                figures = draw(findings, folder, order.figures)
            except BadInput as error:
                say(str(error))
        title = report_title(findings)
        text = report_markdown(title, _report(findings, comparison, MOST_ROWS), figures)
        write_file(folder / "report.md", text.encode())
        raw = order.raw_cells
        write_lines(numbers(findings, comparison), NUMBERS, folder / f"numbers.{kind}", raw)
        names = ["report.md", *(each.name for each in figures.values()), f"numbers.{kind}"]
        if order.export is not None:
            write_lines(item_rows(read_items(source)), ITEMS, folder / f"items.{kind}", raw)
            names.append(f"items.{kind}")
        if order.export is not None and findings.instead:
            names.append(f"counterfactuals.{kind}")
            write_lines(replaced_rows(read_items(source)), REPLACED, folder / names[-1], raw)
        if order.export is not None and findings.looks is not None:
            names.append(f"attention.{kind}")
            write_lines(attention_rows(read_items(source)), ATTENTION, folder / names[-1], raw)
        if order.export is not None and findings.by_setting:
            names.append(f"answers.{kind}")
            write_lines(answer_rows(read_items(source)), ANSWERS, folder / names[-1], raw)
        for each in findings.by_depth if order.export is not None else ():
            names.append(f"{each.method}.{kind}")
            lines = depth_rows(read_items(source), each.method)
            write_lines(lines, DEPTH, folder / names[-1], raw)
    except OSError as error:
        say(f"{folder}: the report cannot be written ({reason_of(error)})")
        return Exit.FAULT
    say(f"written to {folder}: {', '.join(names)}")
    return Exit.DONE
