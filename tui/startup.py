"""The values with which the explorer starts; `tui.cli` fills them in."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from engine.events import LoadOptions
from engine.records import Question, Session
from tui.worker.protocol import Tell, WorkerLike


@dataclass(frozen=True)
class Startup:
    """Everything that the command line decided."""

    options: LoadOptions | None
    """Which model to load; None opens the explorer without one."""
    question: Question
    session: Session | None = None
    """A session to reopen: it is shown without loading a model."""
    session_path: Path | None = None
    sweep: Path | None = None
    """The folder of a sweep whose items can be opened."""
    lite: bool = False
    diff: bool = True
    """Whether only cells that change are written to the terminal."""
    ascii: bool = False
    mouse: bool = True
    theme: str | None = None
    """None means the theme that was chosen last."""
    no_picture: bool = False
    """Whether the user asked for no picture; otherwise the bundled one replaces a missing one."""
    seed: int = 0
    """Seed of the noise that can be shown instead of a picture."""
    preview: bool = True
    """Whether the picture is visible at the start."""
    columns: tuple[str, ...] | None = None
    """None means the columns that were chosen last; the same holds for the next two fields."""
    plot: str | None = None
    copy_format: str | None = None
    raw_cells: bool = False
    """Whether CSV and TSV hold texts exactly, also those that a spreadsheet takes for formulas."""
    live: Literal["auto", "on", "off"] = "auto"
    """Whether what is typed is asked by itself; "auto" leaves it to how long a pass takes."""
    keys: Mapping[str, str] = field(default_factory=dict)
    """The user's own keymap: an action's id -> its keys."""
    presets_file: Path | None = None
    remember: bool = True
    """Whether the theme, columns and recent files are read from, and written to, the state
    folder."""
    autosave: bool = True
    """Whether the session is continuously written to the disk while the explorer runs."""
    worker: Callable[[Tell], WorkerLike] | None = None
    """Makes the worker; None makes `engine.worker.Worker`."""

    @property
    def slow_line(self) -> bool:
        """Whether bytes are precious: over SSH, and with `--lite`. Then nothing blinks, and no
        tint is laid over what is below a dialog."""
        return self.lite or "SSH_CONNECTION" in os.environ
