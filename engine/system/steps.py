"""Long work as a generator, which yields wherever other work may run and returns what it found."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TypeVar

from engine.errors import Cancelled

Found = TypeVar("Found")


def finished(steps: Generator[object, None, Found]) -> Found:
    """Carry out all steps at once, and return what they return."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            found: Found = end.value
            return found


def stopping(
    steps: Generator[None, None, Found], stop: Callable[[], bool]
) -> Generator[None, None, Found]:
    """The same steps, which raise Cancelled before each of them once `stop()` is true."""
    while True:
        if stop():
            raise Cancelled("cancelled")
        try:
            next(steps)
        except StopIteration as end:
            found: Found = end.value
            return found
        yield
