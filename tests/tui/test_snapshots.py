"""The main views as pictures, from a worker with fixed data, at three sizes and in two themes.

`pytest tests/tui/test_snapshots.py --snapshot-update` takes them again; look at what has changed
(`git diff --stat`, and the SVG files in a browser) before you commit them.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable

import pytest
from syrupy.assertion import SnapshotAssertion
from syrupy.extensions.single_file import SingleFileSnapshotExtension, WriteMode

import samples
from engine.methods.answer import AnswerRequest
from engine.records import Picture, Question
from tests.tui.fakes import chat_tokens
from tests.tui.stage import SIZES, Stage, explorer, in_loop
from tui.views.answer.screen import AnswerScreen
from tui.views.attention.screen import AttentionScreen
from tui.views.parts.screen import PartsScreen
from tui.views.saliency.screen import SaliencyScreen
from tui.views.tracing.screen import TracingScreen

THEMES = ["lenscope", "lenscope-light"]
PROMPT = "Shape of the main object:"
TOKENS = chat_tokens(PROMPT.split(), 576)


class SvgExtension(SingleFileSnapshotExtension):
    """One SVG file a snapshot."""

    _write_mode = WriteMode.TEXT
    file_extension = "svg"


@pytest.fixture
def svg(snapshot: SnapshotAssertion) -> SnapshotAssertion:
    return snapshot.use_extension(SvgExtension)


def picture_of(stage: Stage) -> str:
    """The screen; identifiers that rich derives from the whole content are taken out, so that a
    changed cell changes a line of the file."""
    picture = stage.app.export_screenshot(title="lenscope")
    return re.sub(r"terminal-\d+", "terminal", picture)


async def settled(stage: Stage) -> str:
    """The screen once it stays as it is; a busy machine may take a while."""
    before, shown = "", picture_of(stage)
    while shown != before:
        await stage.pilot.pause(0.3)
        before, shown = shown, picture_of(stage)
    return shown


async def plain(stage: Stage) -> None:
    """The first thing that one sees."""


async def trajectories(stage: Stage) -> None:
    await stage.press("P")
    await stage.until(lambda: stage.app.main.lower.view("plot")._plot is not None)
    await stage.until(lambda: any("\u2801" <= letter <= "\u28ff" for letter in stage.text))
    await stage.pilot.pause(0.6)


async def large_detail(stage: Stage) -> None:
    small = stage.app.main.lower.view("detail").size.height
    await stage.press("enter")
    await stage.until(lambda: stage.app.main.lower.view("detail").size.height > small)
    await stage.pilot.pause(0.4)


async def history(stage: Stage) -> None:
    await stage.press("r")
    await stage.run_done(2)
    await stage.press("H")
    await stage.until(lambda: len(stage.app.screen_stack) > 1)


async def comparison(stage: Stage) -> None:
    stage.worker.forms_at = 22
    await stage.press("r")
    await stage.run_done(2)
    await stage.press("b")
    await stage.pilot.pause(0.2)


async def grid(stage: Stage) -> None:
    await stage.press("<", "2")
    await stage.until(lambda: stage.app.state.current.run.readings)  # type: ignore[union-attr]


async def attention(stage: Stage) -> None:
    await stage.press("4")
    screen = stage.app.screen
    assert isinstance(screen, AttentionScreen)
    await stage.until(lambda: screen.gaze.steps is not None and screen.pane.canvas.drawn)
    await stage.press("K")
    await stage.shows("now: red")


async def answer(stage: Stage) -> None:
    stage.app.state.decode_with(AnswerRequest(temperature=0.7, seed=1, attention=True))
    await stage.press("c")
    screen = stage.app.screen
    assert isinstance(screen, AnswerScreen)
    await stage.until(lambda: screen.reading is not None)
    await stage.press("f", "f", "left", "left")


async def parts(stage: Stage) -> None:
    await stage.press("6")
    screen = stage.app.screen
    assert isinstance(screen, PartsScreen)
    await stage.shows("they sum to")
    await stage.press("a", "n")
    await stage.shows("taken out:", "largest:")


async def heads(stage: Stage) -> None:
    await stage.press("6", "D")
    screen = stage.app.screen
    assert isinstance(screen, PartsScreen)
    await stage.until(lambda: screen.looking.steps is not None and screen.pane.canvas.drawn)
    await stage.shows("most from")


async def neurons(stage: Stage) -> None:
    await stage.press("9")
    await stage.shows("these 40")
    await stage.press("K")
    await stage.shows("at zero:")


async def tracing(stage: Stage) -> None:
    await stage.press("7")
    screen = stage.app.screen
    assert isinstance(screen, TracingScreen)
    await stage.until(lambda: screen.traced.missing() is None and screen.pane.canvas.drawn)
    await stage.press("space", "right", "right", "down", "space")
    await stage.shows("site: box")
    await stage.until(lambda: screen.traced.missing() is None)


async def saliency(stage: Stage) -> None:
    await stage.press("8")
    screen = stage.app.screen
    assert isinstance(screen, SaliencyScreen)
    await stage.until(lambda: screen.salient.reading and screen.pane.canvas.drawn)
    await stage.press("F")
    await stage.until(lambda: screen.salient.reading)
    await stage.press("b", "n")
    await stage.shows("0.45/0.35")


VIEWS = [
    plain,
    trajectories,
    large_detail,
    history,
    comparison,
    grid,
    attention,
    answer,
    parts,
    heads,
    neurons,
    pytest.param(tracing, marks=pytest.mark.slow),
    pytest.param(saliency, marks=pytest.mark.slow),
]


@pytest.mark.parametrize(
    "theme", [THEMES[0], *(pytest.param(theme, marks=pytest.mark.slow) for theme in THEMES[1:])]
)
@pytest.mark.parametrize("size", SIZES, ids=lambda size: "x".join(map(str, size)))
@pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.__name__)
def test_it_looks_as_it_did(
    view: Callable[[Stage], Awaitable[None]],
    size: tuple[int, int],
    theme: str,
    svg: SnapshotAssertion,
) -> None:
    @in_loop
    async def take() -> None:
        startup = {
            "question": Question(prompt=PROMPT, picture=Picture(str(samples.DEFAULT_PICTURE))),
            "no_picture": False,
            "theme": theme,
        }
        async with explorer(size, startup=startup, layers=28, forms_at=14, tokens=TOKENS) as stage:
            await stage.run_done()
            await stage.until(lambda: stage.app.main.preview.drawn)
            await stage.pilot.pause(0.3)
            await view(stage)
            taken.append(await settled(stage))

    taken: list[str] = []
    take()
    assert taken[0] == svg
