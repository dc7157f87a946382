"""Looking closer: search, columns, the large detail, the plot, tracked tokens."""

from __future__ import annotations

import pytest
from rich.style import Style

from tests.tui.stage import ONE_SIZE, SIZES, Stage, explorer, in_loop

at_every_size = pytest.mark.parametrize("size", SIZES)
at_one_size = pytest.mark.parametrize("size", ONE_SIZE)


def reversed_words(stage: Stage) -> list[str]:
    """What the table marks as found, on the screen."""
    table = stage.app.main.table
    lines = [table.render_line(y) for y in range(table.size.height)]
    return [
        segment.text.strip()
        for line in lines
        for segment in line
        if (segment.style or Style()).reverse
    ]


@at_one_size
@in_loop
async def test_slash_finds_a_token_and_n_goes_on(size: tuple[int, int]) -> None:
    async with explorer(size, layers=30, forms_at=15) as stage:
        await stage.run_done()
        await stage.press("g", "slash", *"two")
        await stage.until(lambda: stage.app.main.find_line.is_open)
        await stage.until(lambda: "␣two" in reversed_words(stage))
        await stage.press("enter")
        await stage.shows("␣two: row 0 rank 4, 6.88%; 1 of 28 rows")  # beyond the three shown
        await stage.press("slash", "space", *"one")
        await stage.until(lambda: stage.app.main.table.cursor == 3)
        await stage.press("enter")
        await stage.shows("␣one: row 3 rank 9")
        assert not stage.app.main.find_line.is_open
        assert stage.app.focused is stage.app.main.table
        await stage.press("n")
        await stage.shows("; 2 of")
        assert stage.app.main.table.cursor == 4
        await stage.press("N", "N")
        assert stage.app.main.table.cursor > 4  # round to the last
        await stage.press("slash", *"nowhere", "enter")
        await stage.shows("no row holds 'nowhere' among its 10 best tokens: t tracks")
        await stage.press("slash", "escape")
        await stage.until(lambda: not reversed_words(stage))
        await stage.press("n")  # nothing is looked for: asks what
        assert stage.app.main.find_line.is_open


@in_loop
async def test_letters_in_the_search_are_no_commands() -> None:
    async with explorer() as stage:
        await stage.run_done()
        await stage.press("slash", *"qrs", "question_mark", "enter")
        assert stage.app.is_running
        assert len(stage.worker.questions) == 1


@in_loop
async def test_columns_are_chosen() -> None:
    async with explorer((200, 60)) as stage:
        await stage.run_done()
        assert " KL" not in stage.app.main.table.render_line(0).text
        await stage.press("C")
        await stage.shows("columns", "kl", "rms")
        await stage.press("space", "j", "space", "enter")  # entropy off, the next one on
        await stage.until(lambda: stage.app.state.look.figures != ("entropy",))
        head = stage.app.main.table.render_line(0).text
        assert "entropy" not in head
        assert stage.app.state.look.figures == ("rms",)
        assert "rms" in head
        await stage.press("C", "escape")
        assert stage.app.state.look.figures == ("rms",)


@at_every_size
@in_loop
async def test_enter_makes_the_detail_large_and_asks_for_more_tokens(
    size: tuple[int, int],
) -> None:
    async with explorer(size) as stage:
        await stage.run_done()
        small = stage.app.main.lower.view("detail").size.height
        await stage.press("enter")
        await stage.until(lambda: stage.app.main.lower.view("detail").size.height > max(small, 8))
        room = stage.app.main.lower.view("detail").capacity
        if room > 10:
            run = stage.app.state.current
            assert run is not None
            await stage.until(lambda: len(run.deepened[5].top) == room)
        await stage.press("k")
        await stage.shows("layer 4")
        await stage.press("j")
        await stage.shows("▲")
        await stage.press("enter")
        await stage.until(lambda: stage.app.main.lower.view("detail").size.height == small)


@at_every_size
@in_loop
async def test_the_plot_opens_follows_and_changes_its_measure(size: tuple[int, int]) -> None:
    async with explorer(size) as stage:
        await stage.run_done()
        assert not stage.app.main.lower.is_open("plot")
        await stage.press("P")
        await stage.shows("probability over the layers", "␣cylinder")
        await stage.press("percent_sign")
        await stage.shows("log")
        await stage.press("percent_sign")
        await stage.shows("rank")
        await stage.press("j", "G")
        await stage.press("P")
        await stage.until(lambda: not stage.app.main.lower.view("plot").display)


@at_one_size
@in_loop
async def test_any_token_is_tracked_by_typing_it(size: tuple[int, int]) -> None:
    async with explorer(size) as stage:
        await stage.run_done()
        await stage.press("t", *"cube")
        await stage.shows("300", "␣cube")
        await stage.press("enter")
        run = stage.app.state.current
        assert run is not None
        await stage.until(lambda: any(known.why == "user" for known in run.run.tracked))
        assert stage.app.state.pinned == {300: " cube"}
        assert stage.app.main.lower.view("plot").display
        await stage.press("r")
        await stage.run_done(2)
        assert stage.worker.tracks == [(), (300,)]


@in_loop
async def test_a_reopened_session_says_that_other_tokens_need_the_model() -> None:
    async with explorer() as stage:
        await stage.run_done()
        session = stage.app.state.session(row=0, with_live=False)
    async with explorer(startup={"options": None, "session": session}, name="later") as stage:
        await stage.shows("␣cylinder")
        await stage.press("t")
        await stage.shows("L loads it")
        await stage.press("escape", "L")
        await stage.run_done(2)
        assert stage.worker.loads[0].model == "samples/model"
        assert stage.worker.questions[0].prompt == session.runs[0].question.prompt
