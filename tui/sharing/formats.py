"""The formats that a run, or what a method found about it, can leave in; declared here alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Format:
    """One format."""

    name: str
    """In config.toml, and where it is chosen."""
    title: str
    """What is in it."""
    ending: str
    """Of its files."""
    is_copied: bool = True
    """Whether rows and tables can be copied in it; else only whole runs leave in it."""


FORMATS: Final = (
    Format("csv", "a line a row and token, every figure in full", ".csv"),
    Format("tsv", "the same, with tabs, for spreadsheets", ".tsv"),
    Format("markdown", "the table as on the screen, for a report", ".md"),
    Format("text", "as `lenscope run` prints it", ".txt"),
    Format("json", "this run as a session, to be opened again", ".json"),
    Format("svg", "a picture of the screen", ".svg", is_copied=False),
    Format("command", "the command that asks the same", ".sh", is_copied=False),
    Format("python", "the lines of Python that ask the same", ".py", is_copied=False),
)

COPY_FORMATS: Final = {each.name: each.title for each in FORMATS if each.is_copied}
"""What rows and tables can be copied as, and what that is."""

DEFAULT_COPY: Final = "tsv"
