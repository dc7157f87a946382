"""The formats in which a run or a reading can be copied or exported, each declared only here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Format:
    """One format."""

    name: str
    """Its name in config.toml and in dialogs."""
    title: str
    """A description of its content."""
    ending: str
    """The extension of its files."""
    is_copied: bool = True
    """Whether rows and tables can be copied in it; otherwise only whole runs are exported."""


FIGURES: Final = {
    "plot": ("figure: the answer and other tokens over the rows", ".pdf"),
    "table": ("figure: every row with its top tokens", ".pdf"),
    "map": ("figure: a word, attention, saliency on the picture", ".pdf"),
    "comparison": ("figure: this run beside the one compared with it", ".pdf"),
    "film": ("film: the table as its rows form", ".gif"),
    "map-film": ("film: the map from row to row", ".gif"),
}
"""Figures without the terminal around them, drawn by `tui.sharing.figures`: what each shows, and
the ending that it has unless another is typed."""

FORMATS: Final = (
    Format("csv", "a line per row and token, every figure in full", ".csv"),
    Format("tsv", "the same, with tabs, for spreadsheets", ".tsv"),
    Format("markdown", "the table as on the screen, for a report", ".md"),
    Format("text", "as `lenscope run` prints it", ".txt"),
    Format("json", "this run as a session that can be reopened", ".json"),
    Format("html", "a page to send, for any browser", ".html", is_copied=False),
    Format("svg", "a picture of the screen", ".svg", is_copied=False),
    Format("command", "the command that asks the same", ".sh", is_copied=False),
    Format("python", "the Python that asks the same", ".py", is_copied=False),
    *(Format(each, text, ending, is_copied=False) for each, (text, ending) in FIGURES.items()),
)

COPY_FORMATS: Final = {each.name: each.title for each in FORMATS if each.is_copied}
"""Formats in which rows and tables can be copied: name -> description."""

DEFAULT_COPY: Final = "tsv"
