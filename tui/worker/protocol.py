"""The interface that the explorer expects of the engine's worker."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from engine.events import Event, LoadOptions
from engine.records import Counterfactual, Question, Request


class WorkerLike(Protocol):
    """The methods of `engine.worker.Worker` that the explorer uses; none of them waits."""

    def start(self) -> None: ...

    def load(self, options: LoadOptions) -> None: ...

    def ask(self, question: Question, track: Sequence[int] = ()) -> str: ...

    def spellings(self, typed: str) -> None: ...

    def ask_against(
        self, of: str, counterfactuals: Sequence[Counterfactual]
    ) -> tuple[str, ...]: ...

    def read(self, run_id: str, request: Request) -> str: ...

    def cancel_reading(self, request_id: str) -> None: ...

    def cancel(self) -> None: ...

    def forget(self, run_id: str) -> None: ...

    def stop(self) -> None: ...


Tell = Callable[[Event], None]
