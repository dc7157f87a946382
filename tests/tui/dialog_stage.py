"""A dialog on a stage of its own: without the explorer, without a worker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from msgspec.structs import replace
from rich.cells import cell_len
from rich.style import Style
from textual.app import App
from textual.pilot import Pilot
from textual.screen import Screen

import tui
from engine.records import Question, Token
from tests.tui.fakes import ANSWER, finish, make_rows, make_run
from tui.actions.keymap import Keymap
from tui.disk.remembered import Remembered
from tui.startup import Startup
from tui.state.run_view import Phase, RunView
from tui.state.view_state import ViewState
from tui.theme import DARK, register_themes, with_own_variables
from tui.widgets.styles import Styles
from tui.widgets.view_context import ViewContext
from tui.worker.asker import Asker

HOSTILE = "\x1b]0;x\x07\x1b[31m[/red][bold] \u202e\r\n\t\u200b日本\U0001f469\u200d\U0001f680 "

_NONE = Style()
PLAIN = Styles(
    _NONE, _NONE, _NONE, _NONE, _NONE, _NONE, _NONE, _NONE, _NONE, hues=(_NONE,), hue_bars=(_NONE,)
)
"""No colours, for drawing a row without a screen."""


class Theatre(App[int]):
    """Nothing but one screen, in the explorer's looks."""

    CSS_PATH = Path(tui.__file__).parent / "lenscope.tcss"

    def __init__(self, play: Screen[Any]) -> None:
        super().__init__()
        self.play = play
        self.results: list[Any] = []
        register_themes(self)
        self.theme = DARK.name

    def get_css_variables(self) -> dict[str, str]:
        return with_own_variables(super().get_css_variables())

    def on_mount(self) -> None:
        self.push_screen(self.play, self.results.append)


class Stage:
    """A dialog under test."""

    def __init__(self, app: Theatre, pilot: Pilot[int]) -> None:
        self.app, self.pilot = app, pilot

    @property
    def lines(self) -> list[str]:
        """What the screen shows; every line is safe, and as wide as the screen."""
        strips = self.app.screen._compositor.render_strips(self.app.size)
        lines = ["".join(segment.text for segment in line) for line in strips]
        for line in lines:
            assert line.isprintable(), repr(line)
            assert cell_len(line) == self.app.size.width, repr(line)
        return lines

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def line(self, words: str) -> str:
        """The one line that shows these words."""
        (line,) = (line for line in self.lines if words in line)
        return line

    async def until(self, holds: Callable[[], object]) -> None:
        """Wait until a condition holds."""
        for _ in range(500):
            if holds():
                await self.pilot.pause()
                return
            await asyncio.sleep(0.02)
        raise AssertionError(self.text)

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)
        await self.pilot.pause()


@asynccontextmanager
async def on_stage(play: Screen[Any], size: tuple[int, int] = (120, 40)) -> AsyncIterator[Stage]:
    """Show a dialog at a size."""
    app = Theatre(play)
    async with app.run_test(size=size) as pilot:
        await pilot.pause()
        yield Stage(app, pilot)


def make_view(
    index: int = 0,
    prompt: str = "Shape:",
    *,
    forms_at: int = 5,
    layers: int = 10,
    passed: bool = True,
    read: int | None = None,
    running: bool = False,
    answer: Token | None = None,
    **question: Any,
) -> RunView:
    """A run that has ended; with `read`, after so many rows, or still running there."""
    run = make_run(f"{index:016x}", Question(prompt=prompt, **question), layers)
    rows = make_rows(layers, forms_at)
    if answer is not None:
        rows = [replace(row, top=tuple(_instead(row.top, answer))) for row in rows]
    if running:
        return RunView(run, rows[:read])
    if read is not None:
        return RunView.of(finish(run, rows[:read], "cancelled"))
    run = finish(run, rows, passed=passed)
    return RunView(run, list(run.rows), Phase(run.status))


def _instead(top: tuple[Token, ...], answer: Token) -> list[Token]:
    return [
        replace(token, id=answer.id, text=answer.text) if token.id == ANSWER[0] else token
        for token in top
    ]


def context(*, ascii_only: bool = False) -> ViewContext:
    """What a view in the lower slot is made with, without a worker."""
    startup = Startup(options=None, question=Question(prompt="Shape:"), ascii=ascii_only)
    asker = Asker(ViewState(startup.question), startup, lambda _: None)
    return ViewContext(startup, Keymap(), asker, Remembered(), lambda: 0)


def make_state(*views: RunView) -> ViewState:
    """A session that shows its last run."""
    state = ViewState(Question(prompt="Shape:"))
    state.runs = list(views)
    state.current = state.runs[-1] if views else None
    return state
