"""A sweep's report as Markdown: the sections that the terminal shows, with figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from engine.sweeps.report import Section, Table
from tui.sharing.markdown import escaped


def report_markdown(title: str, sections: Sequence[Section], figures: Mapping[str, Path]) -> str:
    """Return the report; figures are named relative to it."""
    parts = [f"# {escaped(title)}\n"]
    for section in sections:
        parts.append(f"## {escaped(section.title)}\n")
        parts.append(f"{escaped(section.words)}\n")
        parts += [_table(table) for table in section.tables]
        if section.notes:
            parts.append("".join(f"- {escaped(note)}\n" for note in section.notes))
        if section.figure is not None and section.figure in figures:
            parts.append(f"![{section.figure}]({figures[section.figure].name})\n")
    return "\n".join(parts)


def _table(table: Table) -> str:
    left = "---" if table.rows and not _is_number(table.rows[0][0]) else "---:"
    rule = [left, *["---:"] * (len(table.heads) - 1)]
    lines = [[escaped(cell) for cell in row] for row in (table.heads, *table.rows)]
    lines.insert(1, rule)
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def _is_number(text: str) -> bool:
    return text[:1].isdigit()
