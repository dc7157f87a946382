"""The grid, the strip and the positions in the explorer, on a worker with fixed data."""

from __future__ import annotations

from dataclasses import replace as replace_look
from functools import partial
from typing import Any

import pytest
from msgspec.structs import replace

from engine.arrays import Array
from engine.errors import Remedy
from engine.events import ReadingDropped, ReadingMade, Trouble
from engine.methods.deepen import DeepenRequest
from engine.methods.grid import GridRequest
from engine.methods.track import TrackRequest
from engine.methods.visit import VisitReading, VisitRequest
from engine.methods.words import WordsRequest
from engine.records import PromptToken, ReadingProof, Session
from tests.tui.dialog_stage import HOSTILE
from tests.tui.fakes import chat_tokens, grid_reading, visited
from tests.tui.stage import ONE_SIZE, Stage, explorer, in_loop
from tui.state.run_view import RunView
from tui.views.grid import filling
from tui.views.grid.grid import GridView
from tui.widgets.places import PlaceChosen

WORDS = ["Shape", "object:"]
TOKENS = chat_tokens(WORDS, 60)
OWN = len(TOKENS) - 1
at_every_size = pytest.mark.parametrize("size", ONE_SIZE)


def asked(stage: Stage, kind: type) -> list[Any]:
    return [request for _, request in stage.worker.reads if isinstance(request, kind)]


def current(stage: Stage) -> RunView:
    run = stage.app.state.current
    assert run is not None
    return run


def grid(stage: Stage) -> GridView:
    view: GridView = stage.app.main.lower.view("grid")
    return view


def in_table(stage: Stage) -> str:
    """The text of the table's first row."""
    return "".join(segment.text for segment in stage.app.main.table.render_line(1))


def _grids(stage: Stage, count: int) -> bool:
    return len(asked(stage, GridRequest)) == count


async def opened(stage: Stage) -> GridView:
    """Open the grid, and wait until it is filled."""
    await stage.run_done()
    await stage.press("2")
    await stage.until(lambda: current(stage).run.readings)
    await stage.pilot.pause()
    return grid(stage)


# Walking


@at_every_size
@in_loop
async def test_a_position_is_read_once_the_cursor_rests_and_then_shown_everywhere(
    size: tuple[int, int],
) -> None:
    async with explorer(size, tokens=TOKENS) as stage:
        await stage.run_done()
        await stage.shows("«␣Shape", "▣ 60")
        await stage.press("<", "<")
        await stage.shows("layers, at position 66 (0-68)", "␣w66", "at position 66 (0-68)")
        assert VisitRequest(positions=(66,)) in asked(stage, VisitRequest)
        await stage.shows("a row says the next token; position 66 (0-68), prompt, after ␣object:")
        run = current(stage)
        assert 66 in [other.position for other in run.run.others]
        assert run.run.position == OWN
        await stage.press("(", "(")
        await stage.shows("nothing trained it to name the patch; position 5 (0-68), patch 1 of 60")
        await stage.press("g")
        await stage.shows("row 0 is the projector's output; position 5 (0-68)")
        await stage.press("semicolon")
        await stage.until(lambda: "at position" not in stage.text)
        assert "␣red" in in_table(stage)
        await stage.press("<", "<")
        await stage.shows("␣w66")
        wanted = [request.positions for request in asked(stage, VisitRequest)]
        assert wanted.count((66,)) == 1  # what was read is not read again


@in_loop
async def test_rows_of_another_position_are_never_shown_as_those_of_this_one() -> None:
    async with explorer(tokens=TOKENS) as stage:
        await stage.run_done()
        stage.worker.holds_readings = True
        await stage.press("<")
        await stage.shows("reading position 67", "layers, at position 67 (0-68)")
        assert "␣red" not in in_table(stage)
        await stage.press("y")
        await stage.shows("position 67 has not been read")
        stage.worker.answer_reads()
        await stage.shows("␣w67")
        await stage.press("y")
        await stage.shows("copied row 5 at position 67 (0-68) as tsv")
        await stage.press("Y")
        await stage.shows("copied 11 rows at position 67 (0-68) as tsv")
        assert " w67" in stage.app.clipboard


@pytest.mark.slow
@in_loop
async def test_a_position_that_cannot_be_read_says_why() -> None:
    async with explorer(tokens=TOKENS) as stage:
        await stage.run_done()
        stage.worker.holds_readings = True
        await stage.press("<")
        await stage.until(lambda: stage.worker.reads)
        run = current(stage).run
        trouble = Trouble("gone \x1b[31m[bold]", run.id, (), stage.worker.read_ids[-1])
        stage.worker.tell(trouble)
        await stage.shows("it cannot be read: gone \\x1b[31m[bold]")
        assert len(stage.worker.reads) == 1
        stage.worker.holds_readings = False
        await stage.press("<")
        await stage.shows("␣w66")
        await stage.press(">")
        await stage.shows("␣w67")  # going there again tries again


@pytest.mark.slow
@in_loop
async def test_more_is_read_at_the_position_under_the_cursor() -> None:
    async with explorer((200, 60), tokens=TOKENS) as stage:
        await stage.run_done()
        await stage.press("<")
        await stage.shows("␣w67")
        await stage.press("enter")  # the detail has room for more tokens than the rows hold
        await stage.until(lambda: [r for r in asked(stage, DeepenRequest) if r.position == 67])
        await stage.press("enter", "t", *"dog")
        await stage.shows("dog")
        await stage.press("enter")
        await stage.pilot.pause()
        await stage.press("enter")
        await stage.until(lambda: asked(stage, TrackRequest))
        assert asked(stage, TrackRequest)[0].position == 67


@in_loop
async def test_a_message_of_any_view_leads_to_a_place() -> None:
    async with explorer(tokens=TOKENS) as stage:
        await stage.run_done()
        stage.app.main.strip.post_message(PlaceChosen(66, 3))
        await stage.shows("␣w66")
        assert stage.app.main.table.cursor == 3
        stage.app.main.strip.post_message(PlaceChosen(10_000))
        await stage.until(lambda: "at position" not in stage.text)
        strip = stage.app.main.strip
        x = stage.text.splitlines()[strip.region.y].index("Shape") - strip.region.x
        await stage.pilot.click(strip, offset=(x, 0))
        await stage.shows("␣w65", "at position 65 (0-68)")


# The grid


@at_every_size
@in_loop
async def test_the_grid_is_filled_and_walked(size: tuple[int, int]) -> None:
    async with explorer(size, tokens=TOKENS) as stage:
        await stage.run_done()
        cursor = stage.app.main.table.cursor
        view = await opened(stage)
        assert asked(stage, GridRequest) == [GridRequest(first=cursor)]
        assert current(stage).run.readings[0].request == GridRequest()
        assert view.has_focus
        await stage.shows("grid, probability of the best token", "▸68")
        await stage.press("h", "h", "k")
        await stage.until(lambda: stage.app.state.place == 66)
        assert stage.app.main.table.cursor == view.cursor == cursor - 1
        await stage.shows("␣w66", "row 4")
        await stage.press("2")
        await stage.until(lambda: view.size.height > 12 or size[1] < 30)
        assert stage.app.main.has_class("-enlarged")
        await stage.press("escape")
        await stage.until(lambda: not stage.app.main.has_class("-enlarged"))
        assert stage.app.main.lower.is_open("grid")
        await stage.press("1")
        assert stage.app.main.table.has_focus
        await stage.press("1")
        await stage.until(lambda: not stage.app.main.lower.is_open("grid"))


@in_loop
async def test_the_picture_is_one_column_until_it_is_unfolded() -> None:
    async with explorer(tokens=TOKENS) as stage:
        view = await opened(stage)
        await stage.press(*["h"] * 4)
        await stage.shows("▣ 1/60", "␣USER:")
        assert stage.app.state.place == 5
        await stage.press("enter")
        await stage.shows("▣ patch")
        await stage.press("l")
        await stage.until(lambda: stage.app.state.place == 6)
        await stage.press("enter")
        await stage.shows("▣ 2/60")
        await stage.press("l")
        await stage.until(lambda: stage.app.state.place == 65)
        assert view.cursor == stage.app.main.table.cursor


@pytest.mark.slow
@in_loop
async def test_a_click_goes_to_a_cell() -> None:
    async with explorer(tokens=TOKENS) as stage:
        view = await opened(stage)
        await stage.pilot.click(view, offset=(1 + 5 + 4 * 10 + 3, 1 + 2 + 1))
        await stage.until(lambda: stage.app.state.place == 66)
        assert view.cursor == stage.app.main.table.cursor == view.scroll_offset.y + 1
        await stage.pilot.click(view, offset=(1 + 5 + 3 * 10 + 3, 1))  # the head
        await stage.until(lambda: stage.app.state.place == 65)


@in_loop
async def test_the_row_under_the_cursor_comes_first_and_cells_not_yet_there_are_blank(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Longer than a slow machine takes from one key to the next.
    monkeypatch.setattr(filling, "STAY_SECONDS", 2.0)
    async with explorer(tokens=TOKENS, layers=28, forms_at=14) as stage:
        await stage.run_done()
        stage.worker.holds_grids = True
        await stage.press("2")
        await stage.until(lambda: current(stage).cells is not None)
        await stage.shows("grid, 3 of 29 rows read")
        assert asked(stage, GridRequest)[0].first == 14
        cells: Any = current(stage).cells
        assert cells.has_row(14)
        assert not cells.has_row(20)
        blank = next(row for row in range(15, 18) if not cells.has_row(row))
        line = "".join(text for text, _ in grid(stage).draw_row(blank, 80, grid(stage)._colours()))
        assert line.split() == [str(blank)]
        await stage.press("j", "j", "j", "j", "j", "j")
        await stage.until(lambda: len(asked(stage, GridRequest)) == 2)
        assert asked(stage, GridRequest)[1].first == 20
        assert stage.worker.cancelled_readings == stage.worker.read_ids[:1]
        await stage.until(lambda: cells.has_row(20))
        await stage.pilot.pause(filling.STAY_SECONDS)
        assert len(asked(stage, GridRequest)) == 2
        await stage.press("1", "1")  # what nobody sees is not filled
        await stage.until(lambda: len(stage.worker.cancelled_readings) == 2)
        assert current(stage).run.readings == ()


@in_loop
async def test_no_step_is_lost_when_the_app_shows_the_place_before() -> None:
    """As when something arrives between a key and the app's answer to it."""
    async with explorer(tokens=TOKENS) as stage:
        view = await opened(stage)
        row, place = view.cursor, view._place
        for _ in range(2):
            view.action_cursor(-1)
            view.action_column(-1)
            stage.app.presenter.follow_cursor()
        assert (view.cursor, view._place) == (row - 2, place - 2)
        await stage.until(lambda: stage.app.main.table.cursor == row - 2)
        await stage.until(lambda: stage.app.state.place == place - 2)
        stage.app.main.table.put_cursor(1)
        stage.app.presenter.follow_cursor()
        assert view.cursor == 1  # the app leads again


@pytest.mark.slow
@in_loop
async def test_a_new_run_gets_its_own_grid_and_an_old_one_says_what_brings_it_back() -> None:
    async with explorer(tokens=TOKENS) as stage:
        await opened(stage)
        stage.worker.holds_grids = True
        for count in (2, 3):
            await stage.press("r")
            await stage.run_done(count)
            await stage.until(partial(_grids, stage, count))
        run = stage.app.state.runs[1].run
        stage.worker.tell(ReadingDropped(run.id, stage.worker.read_ids[-2]))
        assert not run.readings
        stage.worker.holds_grids = False
        await stage.until(lambda: current(stage).run.readings)
        await stage.press("comma", "comma")
        await stage.until(lambda: stage.app.state.current is stage.app.state.runs[0])
        await stage.shows("grid, probability of the best token")  # stored, so it is still there
        await stage.press("h")
        await stage.shows("the streams of this run are no longer kept: r runs it again")


@in_loop
async def test_heat_asks_for_what_it_needs() -> None:
    async with explorer(tokens=TOKENS) as stage:
        view = await opened(stage)
        for words in ("entropy, 1.5 nats a step", "KL to the last row", "␣cylinder: probability"):
            await stage.press("%")
            await stage.shows(words)
        await stage.until(lambda: asked(stage, WordsRequest))
        assert [request.kl for request in asked(stage, GridRequest)] == [False, True]
        assert asked(stage, WordsRequest) == [WordsRequest(words=("#17",))]
        await stage.shows("word ")
        await stage.press("%")
        await stage.shows("probability of the best token, in eighths")
        methods = [reading.method for reading in current(stage).run.readings]
        assert methods == ["grid", "words"]
        assert view.heat.value == "probability"


@pytest.mark.slow
@in_loop
async def test_a_grid_that_failed_is_struck_out_and_says_so() -> None:
    async with explorer(tokens=TOKENS) as stage:
        await stage.run_done()
        stage.worker.holds_grids = True
        await stage.press("2")
        await stage.until(lambda: asked(stage, GridRequest))
        run = current(stage).run
        proof = ReadingProof("this with that", 0.5, 0.1, passed=False)
        reading = replace(grid_reading(GridRequest(), 10, len(TOKENS)), proof=proof)
        stage.worker.tell(ReadingMade(run.id, stage.worker.read_ids[-1], reading))
        await stage.shows("grid: the grid's proof failed, do not believe it")
        line = grid(stage).render_line(4)
        assert any(segment.style and segment.style.strike for segment in line)
        stage.worker.cancelled_readings.append(stage.worker.read_ids[-1])


@pytest.mark.slow
@in_loop
async def test_a_fill_that_cannot_be_done_says_why_and_the_runs_own_rows_stay() -> None:
    async with explorer(tokens=TOKENS) as stage:
        await stage.run_done()
        stage.worker.holds_grids = True
        await stage.press("2")
        await stage.until(lambda: asked(stage, GridRequest))
        run, made = current(stage), stage.worker.read_ids[-1]
        stage.worker.tell(Trouble("too much memory", run.run.id, (Remedy.RUN_AGAIN,), made))
        await stage.shows("too much memory (r)")
        assert stage.app.asker.keeps_stream_of(run)
        stage.worker.cancelled_readings.append(made)


# Without a model, without colours, with odd data


@at_every_size
@in_loop
async def test_a_reopened_session_shows_what_it_holds(size: tuple[int, int]) -> None:
    state: Any = None
    async with explorer(tokens=TOKENS) as stage:
        await opened(stage)
        await stage.press("h")
        await stage.shows("␣w67")
        state = stage.app.state.session(row=4, with_live=False)
    assert state.view["place"] == 67
    startup = {"options": None, "session": state, "question": state.runs[0].question}
    async with explorer(size, startup=startup) as stage:
        await stage.shows("layers, at position 67 (0-68)", "␣w67", "«␣Shape")
        await stage.press("2")
        await stage.shows("grid, probability of the best token", "row 4")
        await stage.press("h")
        await stage.shows("emb   this needs the model: L loads it")
        await stage.press("%", "%")
        await stage.shows("KL to the last row, 1 nat a step: this needs the model")


@pytest.mark.slow
@in_loop
async def test_damaged_arrays_are_a_message() -> None:
    reading = grid_reading(GridRequest(), 10, len(TOKENS))
    damaged = Array(reading.ids.dtype, reading.ids.shape, reading.ids.data[:-8] + "AAAAAAAA", True)
    run: Any = None
    async with explorer(tokens=TOKENS) as stage:
        await stage.run_done()
        run = current(stage).run
    run = replace(run, readings=(replace(reading, ids=damaged),))
    session = Session(created="x", saved="x", runs=(run,))
    startup = {"options": None, "session": session, "question": run.question}
    async with explorer(startup=startup) as stage:
        await stage.press("2")
        await stage.shows("grid: the grid cannot be read: a damaged array")
        await stage.press("h", "j")
        assert stage.app.is_running


@pytest.mark.slow
@pytest.mark.parametrize("size", [(60, 16), (80, 24)])
@pytest.mark.parametrize("ascii_only", [False, True])
@in_loop
async def test_odd_prompts_do_no_harm(size: tuple[int, int], ascii_only: bool) -> None:
    hostile = tuple(PromptToken(at, HOSTILE, "text", "prompt") for at in range(40))
    tokens = (*hostile, *[PromptToken(9, HOSTILE, "image", "picture")] * 12_000, *hostile)
    startup = {"ascii": ascii_only}
    async with explorer(size, tokens=tokens, startup=startup, words=[HOSTILE] * 9) as stage:
        await stage.run_done()
        await stage.press("2")
        await stage.until(lambda: current(stage).run.readings)
        await stage.press("2", *["("] * 3, *["<"] * 4, "j", "enter", "h", "(")
        await stage.pilot.pause(0.3)
        shown = stage.text
        assert "\x1b" not in shown
        if ascii_only:
            assert [char for char in shown if not char.isascii() and char != "\n"] == []
        assert stage.app.is_running


@pytest.mark.slow
@in_loop
async def test_heat_is_a_sign_where_there_are_no_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    for ascii_only, signs in ((True, "1234567"), (False, "▁▂▃▄▅▆▇")):
        if not ascii_only:
            monkeypatch.setenv("NO_COLOR", "1")
        async with explorer(tokens=TOKENS, startup={"ascii": ascii_only}) as stage:
            view = await opened(stage)
            await stage.press("G")
            await stage.pilot.pause()
            drawn = "".join(text for text, _ in view.draw_row(9, 80, view._colours()))
            assert set(drawn[4:]) & set(signs)


@pytest.mark.slow
@in_loop
async def test_a_visit_that_arrives_late_belongs_to_its_own_position() -> None:
    async with explorer(tokens=TOKENS) as stage:
        await stage.run_done()
        stage.worker.holds_readings = True
        await stage.press("<")
        await stage.until(lambda: stage.worker.reads)
        run, made = current(stage).run, stage.worker.read_ids[-1]
        await stage.press("semicolon")
        await stage.pilot.pause(0.3)
        reading = VisitReading(request=VisitRequest(positions=(67,)), others=(visited(67, 10),))
        stage.worker.tell(ReadingMade(run.id, made, reading))
        await stage.until(lambda: current(stage).run.others)
        await stage.pilot.pause()
        assert "␣w67" not in stage.text
        await stage.press("<")
        await stage.shows("␣w67")
        assert len(stage.worker.reads) == 1


@in_loop
async def test_what_is_visible_is_read_where_there_is_no_memory_for_all() -> None:
    """A picture of 12,000 tokens: the grid says how large it would be."""
    size = "all 12,069 positions would take 3.2 GB of memory (at most 2 GB are used)"
    async with explorer((120, 40), tokens=chat_tokens(WORDS, 12_060)) as stage:
        await stage.run_done()
        stage.worker.grid_refusal = size
        await stage.press("2")
        await stage.shows("grid of what is visible: all 12,069")
        view = grid(stage)
        await stage.until(lambda: view._facts is not None and current(stage).cells is not None)
        whole, *some = asked(stage, GridRequest)  # some more where the screen is laid out late
        assert whole.positions == () and all(len(each.positions) <= 12 for each in some)
        assert some[-1].positions[-1] == 12_068
        await stage.shows("cylinder")
        assert not current(stage).run.readings  # shown, but no part of the session
        await stage.press("left_parenthesis", *["<"] * 8)
        await stage.until(lambda: asked(stage, GridRequest)[-1].positions[0] == 0)


@in_loop
async def test_what_another_position_says_next_is_not_called_the_answer() -> None:
    async with explorer((120, 40), tokens=TOKENS) as stage:
        await stage.run_done()
        stage.app.state.look = replace_look(stage.app.state.look, figures=("answer",))
        await stage.press("P", "less_than_sign", "less_than_sign")
        await stage.shows("the first from which the next token here stays top-1")
        await stage.shows("next here")
        await stage.press("x")
        await stage.shows("export at position 66 (0-68): ")
        await stage.press("escape", "semicolon")
        await stage.shows("the first from which the answer stays top-1")
        await stage.until(lambda: "next here" not in stage.text)


@in_loop
async def test_a_low_screen_shows_rows_of_the_grid_and_of_the_table() -> None:
    async with explorer((60, 16), tokens=TOKENS) as stage:
        view = await opened(stage)
        for _ in range(3):  # opened, enlarged, small again
            await stage.pilot.pause()
            assert view.size.height - view.head_height >= 3
            assert view.region.bottom <= 14
            assert stage.app.main.table.size.height >= 2
            await stage.press("2")


@pytest.mark.parametrize(
    ("width", "hints"), [(60, ["2 grid", "3 words"]), (80, ["2 grid", "3 words", "jk<> walk"])]
)
@in_loop
async def test_the_key_bar_keeps_the_grid_and_the_words(width: int, hints: list[str]) -> None:
    async with explorer((width, 24), tokens=TOKENS) as stage:
        bar = stage.text.splitlines()[-1]
        assert all(" ".join(hint.split()) in " ".join(bar.split()) for hint in [*hints, "e edit"])


@in_loop
async def test_a_wider_window_shows_more_of_the_prompt() -> None:
    async with explorer((60, 16), tokens=chat_tokens(WORDS, 60)) as stage:
        await stage.run_done()
        await stage.until(lambda: "␣Be" not in stage.text and "ASSISTANT" in stage.text)
        await stage.pilot.resize_terminal(120, 40)
        await stage.shows("<s> SYS: {␣Be ␣brief.} ␣USER:")
