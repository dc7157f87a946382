"""A sweep's report as Markdown: the sections shown on the terminal, with figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from engine.sweeps.section import Section
from tui.sharing.renderers.markdown import escaped, markdown_table


def report_markdown(title: str, sections: Sequence[Section], figures: Mapping[str, Path]) -> str:
    """Return the report; the paths of figures are relative to it."""
    parts = [section_markdown(section, figures) for section in sections]
    return "\n".join([f"# {escaped(title)}\n", *parts])


def section_markdown(section: Section, figures: Mapping[str, Path]) -> str:
    """Return one section, below its title."""
    parts = [f"## {escaped(section.title)}\n", f"{escaped(section.words)}\n"]
    parts += [markdown_table(table) for table in section.tables]
    if section.notes:
        parts.append("".join(f"- {escaped(note)}\n" for note in section.notes))
    if section.figure is not None and section.figure in figures:
        parts.append(f"![{section.figure}]({figures[section.figure].name})\n")
    return "\n".join(parts)
