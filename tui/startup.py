"""What the explorer is started with; `tui.cli` fills it in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

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
    """A reopened session: it is shown, and no model is loaded."""
    session_path: Path | None = None
    sweep: Path | None = None
    """The folder of a sweep whose items can be opened."""
    lite: bool = False
    ascii: bool = False
    mouse: bool = True
    theme: str | None = None
    """None is what was chosen last."""
    no_picture: bool = False
    """The user asked for none; otherwise the bundled picture stands in for a missing one."""
    seed: int = 0
    """Of the noise that can be shown instead of a picture."""
    preview: bool = True
    """Whether the picture shows before p is pressed."""
    columns: tuple[str, ...] | None = None
    """None is what was chosen last; so for the next two."""
    plot: str | None = None
    copy_format: str | None = None
    keys: Mapping[str, str] = field(default_factory=dict)
    """The user's own keymap: an action's id -> its keys."""
    presets_file: Path | None = None
    remember: bool = True
    """Whether looks and recent things come from, and go to, the state folder."""
    autosave: bool = True
    """Whether the session is kept on the disk while the explorer runs."""
    worker: Callable[[Tell], WorkerLike] | None = None
    """Makes the worker; None makes `engine.worker.Worker`."""
