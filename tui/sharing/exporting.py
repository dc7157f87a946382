"""The files that a run can leave in."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from engine.errors import BadInput
from engine.system.files import reason_of, storable, write_file


@dataclass(frozen=True)
class Export:
    """A format that a run can leave in."""

    name: str
    title: str
    ending: str
    """Of its files."""


EXPORTS: Final = (
    Export("csv", "a line a row and token, every figure in full", ".csv"),
    Export("tsv", "the same, with tabs", ".tsv"),
    Export("markdown", "the table, for a report", ".md"),
    Export("text", "as `lenscope run` prints it", ".txt"),
    Export("json", "this run as a session, to be opened again", ".json"),
    Export("svg", "a picture of the screen", ".svg"),
    Export("command", "the command that asks the same", ".sh"),
    Export("python", "the lines of Python that ask the same", ".py"),
)

_LONGEST_STEM = 40


def suggested_stem(name: str) -> str:
    """Return what a run's file may be called, without its ending: the words of its name."""
    words = re.findall(r"[a-z0-9]+", name.lower())
    return "-".join(words)[:_LONGEST_STEM].strip("-") or "run"


def write_text(path: Path, text: str) -> None:
    """Write a file atomically: it is the old one, or the whole new one. Raises BadInput."""
    try:
        write_file(path, text.encode("utf-8", "replace"))
    except (OSError, ValueError) as error:
        raise BadInput(f"{storable(path)}: cannot be written ({reason_of(error)})") from None
