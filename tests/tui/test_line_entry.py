"""A burst of keys acts in the order in which it was typed, in every text input."""

from __future__ import annotations

from functools import partial

import pytest
from textual import events
from textual.widgets import Input, TextArea

from tests.tui.stage import Stage, explorer, in_loop


def burst(stage: Stage, *keys: str) -> None:
    """Type faster than the app reads."""
    for key in keys:
        stage.app.post_message(
            events.Key(key, {"space": " "}.get(key, key if len(key) == 1 else None))
        )


def _holds(widget: Input | TextArea, typed: str) -> bool:
    return (widget.value if isinstance(widget, Input) else widget.text) == typed


BURSTS = {
    ("a", "b", "ctrl+u", "c", "d"): "cd",
    ("a", "b", "backspace", "c"): "ac",
    ("a", "b", "home", "c"): "cab",
    ("a", "space", "b", "ctrl+w", "c"): "a c",
    ("a", "b", "left", "ctrl+k", "c"): "ac",
}


@pytest.mark.parametrize("opens", ["slash", "x tab", "o", "M", "t"])
@in_loop
async def test_the_lines(opens: str) -> None:
    async with explorer() as stage:
        await stage.run_done()
        await stage.press(*opens.split())
        await stage.pilot.pause()
        line = stage.app.focused
        assert isinstance(line, Input)
        for keys, typed in BURSTS.items():
            line.value = ""
            await stage.pilot.pause()
            burst(stage, *keys)
            await stage.until(partial(_holds, line, typed))


@in_loop
async def test_the_prompt() -> None:
    async with explorer() as stage:
        await stage.run_done()
        await stage.press("e")
        editor = stage.app.query_one(TextArea)
        for keys, typed in BURSTS.items():
            editor.text = ""
            await stage.pilot.pause()
            burst(stage, *keys)
            await stage.until(partial(_holds, editor, typed))
