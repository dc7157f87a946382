"""Every action of the registry, at three sizes: it acts, and leaves the explorer on its feet."""

from __future__ import annotations

import pytest

import samples
from engine.records import Picture, Question
from tests.tui.stage import ONE_SIZE, PROMPT, Stage, explorer, in_loop
from tests.tui.test_hostile import assert_harmless
from tui.actions.registry import ACTIONS

LEAVES = {"leave", "suspend"}
"""These end the program, or stop it: `test_explorer` and the tests in a terminal have them."""


async def back(stage: Stage) -> None:
    """Close what is open, and wait until the worker is idle."""
    for _ in range(5):
        await stage.until(lambda: not stage.app.state.busy and not stage.app.state.queued)
        if not stage.app.has_dialog and not stage.app.main.find_line.is_open:
            break
        await stage.press("escape")
    assert not stage.app.has_dialog
    await stage.press("escape")  # from the editor to the table


@pytest.mark.parametrize("size", ONE_SIZE)
@in_loop
async def test_every_action(size: tuple[int, int]) -> None:
    question = Question(prompt=PROMPT, picture=Picture(str(samples.DEFAULT_PICTURE)))
    async with explorer(size, startup={"question": question}) as stage:
        await stage.run_done()
        for action in ACTIONS:
            if action.id in LEAVES:
                continue
            if action.keys:
                await stage.press(action.keys[0])
            else:
                await stage.app.run_action(f"do({action.id!r})")
            await stage.pilot.pause()
            await back(stage)
            assert stage.app.is_running, action.id
            assert_harmless(stage)
        note = stage.app.state.note
        assert note is None or note.kind != "error", note
        assert stage.app.state.current is not None
