"""The screens of readings open at the cell under the grid's cursor, and enter goes back to it."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

import tests.tui.stage as stages
from tests.tui.neurons_stage import NeuronsWorker
from tests.tui.saliency_stage import SaliencyWorker
from tests.tui.stage import WITH_PICTURE, Stage, explorer, in_loop
from tests.tui.tracing_stage import TracingWorker
from tests.tui.words_stage import BEFORE, SIDE
from tui.views.neurons.screen import NeuronsScreen
from tui.views.parts.screen import PartsScreen
from tui.views.saliency.screen import SaliencyScreen
from tui.views.tracing.screen import TracingScreen

LAST = BEFORE + SIDE * SIDE + 1


class EveryWorker(NeuronsWorker, TracingWorker, SaliencyWorker):
    """Answers every request."""


def place_of(screen: Any) -> tuple[int, int]:
    """The row and the position that a screen is about."""
    match screen:
        case PartsScreen():
            return screen.looking.row, screen.looking.explained.position
        case NeuronsScreen():
            return screen.looking.layer + 1, screen.looking.explained.position
        case TracingScreen():
            return screen.traced.row, screen.traced.place
    assert isinstance(screen, SaliencyScreen)
    return screen.salient.row, screen.salient.place


def is_read(screen: Any) -> bool:
    """Whether what could still move the cursor has arrived."""
    if isinstance(screen, PartsScreen | NeuronsScreen):
        return screen.reading is not None
    shown = screen.traced if isinstance(screen, TracingScreen) else screen.salient
    return len(shown.patches) == SIDE * SIDE


def cursor(stage: Stage) -> tuple[int, int | None]:
    return stage.app.main.table.cursor, stage.app.state.place


@pytest.mark.slow
@pytest.mark.parametrize("move", [("h", "j", "j"), ("h", "h", "k"), ("j",), ("h", "G")])
@in_loop
async def test_views_open_at_the_cursor_of_the_grid(
    move: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stages, "FakeWorker", EveryWorker)
    async with explorer(startup=WITH_PICTURE) as stage:
        await stage.run_done()
        await stage.press("2")
        await stage.until(lambda: stage.app.focused is stage.app.main.lower.view("grid"))
        await stage.press(*move)
        row, position = cursor(stage)
        assert row != 5
        assert (position in (None, LAST)) == ("h" not in move)
        here = (row, LAST if position is None else position)
        for key, kind in (
            ("6", PartsScreen), ("7", TracingScreen), ("8", SaliencyScreen), ("9", NeuronsScreen),
        ):  # fmt: skip
            await stage.press(key)
            screen = stage.app.screen
            assert isinstance(screen, kind)
            await stage.until(partial(is_read, screen))
            assert place_of(screen) == here
            back = here
            if isinstance(screen, NeuronsScreen):  # it stands on the largest unit of all layers
                back = (screen.looking.row, here[1])
            await stage.press("enter")
            await stage.until(lambda: not stage.app.has_dialog)
            await stage.pilot.pause()
            assert (stage.app.main.table.cursor, stage.app.state.place) in (
                (back[0], back[1]),
                (back[0], None if back[1] == LAST else back[1]),
            )
