"""The same question without its picture: side by side, in a list, and in the session."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from engine.methods.contrast import ContrastReading, ContrastRequest
from tests.tui.stage import ONE_SIZE, SIZES, WITH_PICTURE, explorer, in_loop
from tui.views.compare.against_list import AgainstList
from tui.views.compare.debiased import DebiasedAnswers
from tui.views.compare.without import Without

at_every_size = pytest.mark.parametrize("size", SIZES)
at_one_size = pytest.mark.parametrize("size", ONE_SIZE)


@at_every_size
@in_loop
async def test_one_key_asks_without_the_picture_and_lays_both_side_by_side(
    size: tuple[int, int],
) -> None:
    async with explorer(size, startup=WITH_PICTURE) as stage:
        await stage.run_done()
        await stage.press("B")
        await stage.until(lambda: isinstance(stage.app.screen, Without))
        await stage.shows("the picture counts from row 3 on", "none", "JS", "contrast")
        asked = stage.worker.questions[1].counterfactual
        assert asked is not None
        assert asked.name == "none"
        await stage.press("right_curly_bracket", "right_square_bracket")
        await stage.until(lambda: stage.worker.contrasts == [(1, 0.1), (1.25, 0.1), (1.25, 0.2)])
        await stage.shows("contrast with none (f)", "a=1.25, [ ] b=0.2")
        await stage.press("P")
        await stage.shows("with the picture", "JS, in nats")
        await stage.press("percent_sign")
        await stage.shows("this plot has one measure")
        await stage.press("asterisk")
        await stage.shows("this plot has one token", "JS, in nats")
        await stage.press("P", "V", *"yes, no", "enter")
        await stage.shows("answers, debiased", "yes", "75.0%")
        await stage.press("slash", *"answer:ye", "enter", "o", "o")
        await stage.shows("answers, debiased, /answer:ye, by p")
        answers = stage.app.screen
        assert isinstance(answers, DebiasedAnswers)
        assert [line.text for line in answers.rows.items] == ["yes"]
        await stage.press("backslash")  # its column's name is aligned to the right
        await stage.shows("The probability of a token")
        await stage.press("q")
        await stage.press("q", "q")
        await stage.until(lambda: not isinstance(stage.app.screen, Without))
        await stage.press("B")  # known by now: nothing is asked again
        await stage.until(lambda: isinstance(stage.app.screen, Without))
        assert len(stage.worker.questions) == 2


@at_one_size
@in_loop
async def test_every_image_replacement_has_a_line(size: tuple[int, int]) -> None:
    async with explorer(size, startup=WITH_PICTURE) as stage:
        await stage.run_done()
        await stage.press("A")
        await stage.until(lambda: isinstance(stage.app.screen, AgainstList))
        await stage.run_done(12)
        await stage.shows("the picture", "noise=500", "mean-patch", "parts at")
        session = stage.app.state.session(row=0, with_live=False)
        assert len(session.comparisons) == 11
        assert {known.of for known in session.comparisons} == {session.runs[0].id}
        screen = stage.app.screen
        assert isinstance(screen, AgainstList)
        rows = screen.rows
        await stage.press("o")
        await stage.shows("by instead")
        assert rows.items[0].name == "black"
        await stage.press("O", "slash", *"parts>0", "enter")
        await stage.shows("/parts>0, by instead, largest first")
        names = [line.name for line in rows.items]
        assert names == sorted(names, reverse=True)
        assert "noise=500" in names and "the picture" not in names
        await stage.press("q")
        await stage.until(lambda: stage.app.state.current is stage.app.state.runs[0])


@in_loop
async def test_the_contrast_is_taken_from_none_unk_or_both() -> None:
    async with explorer(startup=WITH_PICTURE) as stage:
        await stage.run_done()
        await stage.press("A")
        await stage.run_done(12)
        await stage.press("q", "B")
        await stage.shows("contrast with none (f)")
        await stage.press("f")
        await stage.shows("contrast with unk (f)")
        await stage.press("f")
        await stage.shows("contrast with both (f)")


@in_loop
async def test_a_reopened_session_shows_what_it_has_compared() -> None:
    async with explorer(startup=WITH_PICTURE) as stage:
        await stage.run_done()
        await stage.press("B")
        await stage.until(lambda: isinstance(stage.app.screen, Without))
        session = stage.app.state.session(row=0, with_live=False)
    async with explorer(startup={"options": None, "session": session}) as stage:
        await stage.shows("cylinder")
        await stage.press("B")
        await stage.shows("the picture counts from row 3 on")


@in_loop
async def test_what_was_saved_is_shown_without_a_model() -> None:
    """A contrast that the headless command has read names its run by the counterfactual."""
    async with explorer(startup=WITH_PICTURE) as stage:
        await stage.run_done()
        await stage.press("B")
        await stage.shows("contrast with none (f)")
        await stage.until(lambda: stage.app.state.runs[0].run.readings)
        session = stage.app.state.session(row=0, with_live=False)
    picture, *others = session.runs
    (contrast,) = picture.readings
    assert isinstance(contrast, ContrastReading)
    headless = replace(contrast, request=ContrastRequest(("none",), a=0.5))
    picture = replace(picture, readings=(headless,))
    session = replace(session, runs=(picture, *others))
    async with explorer(startup={"options": None, "session": session}) as stage:
        await stage.shows("cylinder")
        stage.app.state.show(stage.app.state.runs[0])
        await stage.press("B")
        await stage.shows("contrast with none (f)", "a=0.5")


@in_loop
async def test_without_a_picture_there_is_nothing_to_take_away() -> None:
    async with explorer() as stage:
        await stage.run_done()
        await stage.press("B")
        await stage.shows("no picture to replace")


@in_loop
async def test_a_wrong_name_is_a_line() -> None:
    async with explorer(startup=WITH_PICTURE) as stage:
        await stage.run_done()
        await stage.app.run_action("do('instead')")
        await stage.shows("instead of the picture")
        await stage.press(*"noise=5000", "enter")
        await stage.shows("from 0 to 999")
        assert stage.app.is_running
