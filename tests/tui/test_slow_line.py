"""Over SSH: nothing blinks, nothing is tinted, dialogs keep their size, pictures are evened out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from textual.containers import Vertical
from textual.widgets import Input, TextArea

from engine.records import Question
from tests.tui.stage import PROMPT, WITH_PICTURE, explorer, in_loop
from tui.actions.registry import ACTIONS
from tui.views.compare.against_list import AgainstList
from tui.widgets.chooser import Chooser
from tui.widgets.evened import MOST_OFF, evened
from tui.widgets.half_blocks import Colours


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


def test_pictures_are_evened_out_only_on_slow_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    from engine.events import LoadOptions
    from tui.app import Explorer
    from tui.startup import Startup

    monkeypatch.delenv("SSH_CONNECTION", raising=False)
    monkeypatch.setenv("COLORTERM", "truecolor")
    monkeypatch.setenv("TERM", "xterm-256color")

    def colours(**options: bool) -> Colours:
        app = Explorer(Startup(LoadOptions("m"), Question(prompt=PROMPT), **options))  # type: ignore[arg-type]
        return app.picture_colours

    assert colours() is Colours.EXACT
    assert colours(lite=True) is Colours.INDEXED
    monkeypatch.setenv("SSH_CONNECTION", "x")
    assert colours() is Colours.EVEN
    monkeypatch.setenv("STY", "1234.screen")
    assert colours() is Colours.INDEXED


@given(st.integers(1, 9), st.integers(1, 7), st.data())
def test_no_pixel_is_further_off_than_it_may_be(
    width: int, height: int, data: st.DataObject
) -> None:
    near = data.draw(st.sampled_from([st.integers(0, 255), st.integers(90, 115)]))
    rgb = bytes(data.draw(st.lists(near, min_size=3 * width * height, max_size=3 * width * height)))
    result = evened(rgb, width)
    own = list(zip(rgb[0::3], rgb[1::3], rgb[2::3], strict=True))
    assert len(result) == len(own)
    for pixel, wanted in zip(result, own, strict=True):
        assert max(abs(a - b) for a, b in zip(pixel, wanted, strict=True)) <= MOST_OFF


def test_what_is_nearly_alike_gets_one_colour() -> None:
    line = bytes(100 + x % 3 for x in range(3 * 40))
    assert len(set(evened(line * 2, 40))) == 1
    assert len(set(evened(bytes([0] * 60 + [200] * 60), 20))) == 2
