"""The screens that read one run, opened on stage."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from textual.screen import Screen

from engine.records import Request
from tests.tui.stage import WITH_PICTURE, Stage, explorer

ScreenT = TypeVar("ScreenT", bound=Screen[Any])
RequestT = TypeVar("RequestT", bound=Request)


@asynccontextmanager
async def opened_by(
    keys: Sequence[str],
    kind: type[ScreenT],
    size: tuple[int, int] = (120, 40),
    *,
    startup: dict[str, Any] | None = None,
    **worker: Any,
) -> AsyncIterator[tuple[Stage, ScreenT]]:
    """Run the explorer on the bundled picture, and open a kind of screen with keys."""
    async with explorer(size, startup={**WITH_PICTURE, **(startup or {})}, **worker) as stage:
        await stage.run_done()
        await stage.press(*keys)
        screen = stage.app.screen_stack[1]
        assert isinstance(screen, kind)
        yield stage, screen


def asked_of(stage: Stage, kind: type[RequestT]) -> list[RequestT]:
    """The requests of a kind that the worker has got."""
    return [request for _, request in stage.worker.reads if isinstance(request, kind)]
