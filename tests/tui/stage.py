"""The explorer on a stage: without a terminal, on a fake worker, at a chosen size."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import wraps
from typing import Any

import pytest
from textual.pilot import Pilot

import samples
from engine.events import LoadOptions
from engine.records import Picture, Question
from tests.tui.fakes import FakeWorker
from tui.app import Explorer
from tui.startup import Startup

EVERY_SIZE = [(80, 24), (120, 40), (200, 60)]


def _quick(count: int) -> list[Any]:
    slow = [pytest.param(size, marks=pytest.mark.slow) for size in EVERY_SIZE[count:]]
    return [*EVERY_SIZE[:count], *slow]


SIZES = _quick(2)
"""The two that people have; the largest in the full set."""
ONE_SIZE = _quick(1)
"""For what takes long, or only presses keys: the narrowest, and all in the full set."""
PROMPT = "Shape of the main object:"
WITH_PICTURE = {"question": Question(prompt=PROMPT, picture=Picture(str(samples.DEFAULT_PICTURE)))}
"""How an explorer starts with the bundled picture."""


class Stage:
    """An explorer under test, with its worker and its pilot."""

    def __init__(self, app: Explorer, pilot: Pilot[int], workers: list[FakeWorker]) -> None:
        self.app, self.pilot, self._workers = app, pilot, workers

    @property
    def worker(self) -> FakeWorker:
        return self._workers[0]

    @property
    def text(self) -> str:
        """Every cell of the screen."""
        screen = self.app.screen
        lines = screen._compositor.render_strips(self.app.size)
        return "\n".join("".join(segment.text for segment in line) for line in lines)

    async def until(self, holds: Callable[[], object], seconds: float = 15) -> None:
        """Wait until a condition holds."""
        end = asyncio.get_running_loop().time() + seconds
        while not holds():
            if asyncio.get_running_loop().time() > end:
                raise AssertionError(f"waited in vain; the screen:\n{self.text}")
            await asyncio.sleep(0.02)

    async def shows(self, *texts: str) -> None:
        """Wait until the screen shows all of the texts."""
        await self.until(lambda: all(text in self.text for text in texts))

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)

    async def run_done(self, count: int = 1) -> None:
        """Wait until so many runs have ended, and are shown."""
        await self.until(
            lambda: (
                len(self.app.state.runs) >= count
                and self.app.state.live is None
                and not self.app.state.asked
            )
        )
        await self.pilot.pause()


@asynccontextmanager
async def explorer(
    size: tuple[int, int] = (120, 40), *, startup: dict[str, Any] | None = None, **worker: Any
) -> AsyncIterator[Stage]:
    """Run the explorer without a terminal, on a fake worker."""
    workers: list[FakeWorker] = []

    def make(tell: Any) -> FakeWorker:
        workers.append(FakeWorker(tell, **worker))
        return workers[0]

    settings: dict[str, Any] = {
        "options": LoadOptions("samples/model"),
        "question": Question(prompt=PROMPT),
        "no_picture": True,
        "worker": make,
        **(startup or {}),
    }
    app = Explorer(Startup(**settings))
    async with app.run_test(size=size) as pilot:
        yield Stage(app, pilot, workers)


def in_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run an async test without a plug-in."""

    @wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        asyncio.run(test(*args, **kwargs))

    return run
