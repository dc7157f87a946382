"""Over SSH: nothing blinks, nothing is tinted, dialogs keep their size, pictures are evened out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from textual.containers import Vertical
from textual.widgets import Input, TextArea

from engine.records import Question
from tests.tui.stage import PROMPT, WITH_PICTURE, explorer, in_loop
from tui.actions.registry import ACTIONS
from tui.views.compare.against_list import AgainstList
from tui.widgets.chooser import Chooser
from tui.widgets.evened import LEAST_OFF, MOST_OFF, evened
from tui.widgets.half_blocks import Colours, picture_strips


@pytest.fixture
def ssh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSH_CONNECTION", "192.0.2.1 50000 192.0.2.2 22")


@in_loop
async def test_a_tint_lies_over_what_is_below_a_dialog() -> None:
    async with explorer() as stage:
        await stage.press("question_mark")
        assert 0 < stage.app.screen.styles.background.a < 1


@pytest.mark.usefixtures("ssh")
@in_loop
async def test_no_tint_over_ssh() -> None:
    async with explorer() as stage:
        for key in ("question_mark", "H", "w", "o", "ctrl+p", "T", "C"):
            await stage.press(key)
            assert stage.app.has_dialog
            assert stage.app.screen.styles.background.a == 0
            await stage.press("escape")


@pytest.mark.usefixtures("ssh")
@in_loop
async def test_nothing_blinks_over_ssh() -> None:
    async with explorer() as stage:
        for key in ("", "ctrl+p", "T", "w", "o", "slash", "t", "f6"):
            await stage.press(*filter(None, [key]))
            for field in (*stage.app.screen.query(Input), *stage.app.screen.query(TextArea)):
                assert not field.cursor_blink, key
            await stage.press("escape")


@in_loop
async def test_the_list_of_counterfactuals_has_its_size_from_the_start() -> None:
    async with explorer(startup=WITH_PICTURE) as stage:
        await stage.run_done()
        await stage.press("A")
        await stage.until(lambda: isinstance(stage.app.screen, AgainstList))
        screen = stage.app.screen
        assert isinstance(screen, AgainstList)
        await stage.pilot.pause()
        before = stage.app.screen.query_one(Vertical).outer_size
        await stage.run_done(10)
        await stage.pilot.pause()
        assert stage.app.screen.query_one(Vertical).outer_size == before
        lines = screen.rows.size.height
        assert lines == 2 + len(stage.app.state.counterfactuals_of(stage.app.state.runs[0]))


@in_loop
async def test_the_palette_lists_every_command_and_does_it() -> None:
    async with explorer() as stage:
        await stage.run_done()
        await stage.press("ctrl+p")
        chooser = stage.app.screen
        assert isinstance(chooser, Chooser)
        listed = {choice.value for choice in chooser._choices}
        assert listed == {action.id for action in ACTIONS if action.palette}
        await stage.press(*"runs in this", "enter")
        await stage.shows("enter shows, b compares")


@in_loop
async def test_a_theme_is_chosen_by_typing() -> None:
    async with explorer() as stage:
        await stage.press("T", *"nord", "enter")
        await stage.until(lambda: stage.app.theme == "nord")


def test_only_slow_lines_show_evened_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    from engine.events import LoadOptions
    from tui.app import Explorer
    from tui.startup import Startup

    monkeypatch.delenv("SSH_CONNECTION", raising=False)
    monkeypatch.setenv("COLORTERM", "truecolor")
    monkeypatch.setenv("TERM", "xterm-256color")

    def colours(**options: bool) -> Colours:
        app = Explorer(Startup(LoadOptions("m"), Question(prompt=PROMPT), **options))  # type: ignore[arg-type]
        return app.picture_colours

    assert colours() is Colours.FINE
    assert colours(lite=True) is Colours.INDEXED
    monkeypatch.setenv("SSH_CONNECTION", "x")
    assert colours() is Colours.EVEN
    monkeypatch.setenv("STY", "1234.screen")
    assert colours() is Colours.INDEXED


@pytest.mark.parametrize("colours", [Colours.FINE, Colours.EVEN])
def test_a_drawn_picture_is_no_further_off_than_its_colours_say(colours: Colours) -> None:
    slope = np.arange(40 * 20 * 3, dtype=np.uint32).reshape(20, 40, 3) // 17 % 256
    strips = picture_strips(Image.fromarray(slope.astype(np.uint8)), 40, 10, colours=colours)
    styles: set[str] = set()
    for y, strip in enumerate(strips):
        cells = [(cell, segment.style) for segment in strip for cell in segment.text]
        assert len(cells) == 40
        for x, (cell, style) in enumerate(cells):
            assert style is not None
            assert style.bgcolor is not None
            halves = (style.bgcolor, style.bgcolor)
            if cell != " ":
                assert style.color is not None
                above, below = style.color, style.bgcolor
                halves = (above, below) if cell == "▀" else (below, above)
            styles.update(str(half) for half in halves)
            for half, wanted in zip(halves, slope[2 * y : 2 * y + 2, x], strict=True):
                assert half.triplet is not None
                off = max(abs(a - int(b)) for a, b in zip(half.triplet, wanted, strict=True))
                assert off <= colours.most_off
    assert len(styles) < len(np.unique(slope.reshape(-1, 3), axis=0))


@given(st.integers(1, 9), st.integers(1, 7), st.sampled_from([LEAST_OFF, MOST_OFF]), st.data())
def test_no_pixel_is_further_off_than_it_may_be(
    width: int, height: int, most_off: int, data: st.DataObject
) -> None:
    near = data.draw(st.sampled_from([st.integers(0, 255), st.integers(90, 115)]))
    rgb = bytes(data.draw(st.lists(near, min_size=3 * width * height, max_size=3 * width * height)))
    result = evened(rgb, width, most_off)
    own = list(zip(rgb[0::3], rgb[1::3], rgb[2::3], strict=True))
    assert len(result) == len(own)
    for pixel, wanted in zip(result, own, strict=True):
        assert max(abs(a - b) for a, b in zip(pixel, wanted, strict=True)) <= most_off


def test_what_is_nearly_alike_gets_one_colour() -> None:
    line = bytes(100 + x % 3 for x in range(3 * 40))
    assert len(set(evened(line * 2, 40, LEAST_OFF))) == 1
    assert len(set(evened(bytes([0] * 60 + [200] * 60), 20, MOST_OFF))) == 2
