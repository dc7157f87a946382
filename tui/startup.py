"""What the explorer is started with; `tui.cli` fills it in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from engine.events import Event, LoadOptions
from engine.records import Counterfactual, Question, Session


class WorkerLike(Protocol):
    """What the explorer needs of `engine.worker.Worker`; no call ever waits."""

    def start(self) -> None: ...

    def load(self, options: LoadOptions) -> None: ...

    def ask(self, question: Question, track: Sequence[int] = ()) -> str: ...

    def continue_answer(self, run_id: str, max_tokens: int = 20) -> None: ...

    def spellings(self, typed: str) -> None: ...

    def track(self, run_id: str, ids: Sequence[int]) -> None: ...

    def deepen(self, run_id: str, layer: int, count: int) -> None: ...

    def see(self, run_id: str) -> None: ...

    def ask_against(
        self, of: str, counterfactuals: Sequence[Counterfactual]
    ) -> tuple[str, ...]: ...

    def contrast(self, of: str, references: Sequence[str], a: float, b: float) -> None: ...

    def debias(self, of: str, references: Sequence[str], answers: str) -> None: ...

    def cancel(self) -> None: ...

    def stop(self) -> None: ...


Tell = Callable[[Event], None]


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
    """Of the noise that can stand in a picture's stead."""
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
