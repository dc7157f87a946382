"""The list of runs: what each line says, and what its keys do."""

from __future__ import annotations

import pytest
from msgspec.structs import replace
from rich.cells import cell_len

from engine.records import Picture
from tests.tui.dialog_stage import HOSTILE, PLAIN, make_state, make_view, on_stage
from tests.tui.stage import ONE_SIZE, SIZES, in_loop
from tui.state.run_view import Phase
from tui.state.view_state import ViewState
from tui.views.compare.compare import Compare
from tui.views.runs.history import History
from tui.views.runs.history_rows import HistoryList, plan_history
from tui.widgets.line_input import LineInput

at_every_size = pytest.mark.parametrize("size", SIZES)
at_one_size = pytest.mark.parametrize("size", ONE_SIZE)


def history(state: ViewState, *, ascii_only: bool = False) -> History:
    return History(state, ascii_only=ascii_only)


def three() -> ViewState:
    return make_state(
        make_view(1, "Shape:"), make_view(2, "Colour:", forms_at=8), make_view(3, "Place:")
    )


@at_every_size
@in_loop
async def test_one_line_says_what_came_of_a_run(size: tuple[int, int]) -> None:
    picture = Picture(path="/far/away/blocks.png")
    state = make_state(
        make_view(1, "Shape of it:", picture=picture),
        make_view(2, "Colour of it:", norm=False, forms_at=8),
        make_view(3, "Half of it:", read=4),
        make_view(4, "Wrong of it:", passed=False),
        make_view(5, "Now of it:", running=True, read=6),
    )
    state.runs[0].saved = True
    async with on_stage(history(state), size) as stage:
        shape = stage.line("Shape of it:").strip(" │▌").split()
        assert shape[0] == "1"
        for word in ("␣cylind", "99.0%", "5", "0.41"):
            assert any(cell.startswith(word) for cell in shape), word
        assert ("blocks.png" in shape) == (size[0] > 80)
        colour = stage.line("Colour of it:")
        assert colour.split("%")[1].split()[:2] == ["8", "off"]
        assert "2+" in colour
        assert "cancelled" in stage.line("Half of it:")
        assert "proof failed" in stage.line("Wrong of it:")
        assert "at 6 of 11" in stage.line("Now of it:")
        assert "5 runs, 3 not saved (+)" in stage.text


@pytest.mark.parametrize("width", range(56, 220, 7))
def test_the_columns_fill_the_width(width: int) -> None:
    state = make_state(make_view(1, HOSTILE * 3, picture=Picture(path=f"/{HOSTILE}.png")))
    rows = HistoryList(state, ascii_only=False)
    rows.items = list(rows.every)
    plan = plan_history(width)
    drawn = "".join(text for text, _ in rows.draw_row(0, width, PLAIN))
    assert cell_len(drawn) == width
    assert plan.name >= 14


@at_every_size
@in_loop
async def test_hostile_names_stay_in_their_cells(size: tuple[int, int]) -> None:
    state = make_state(make_view(1, HOSTILE, picture=Picture(path=f"/{HOSTILE}.png")))
    state.rename(state.runs[0], HOSTILE)
    async with on_stage(history(state), size) as stage:
        assert "\\x1b]0;x" in stage.text
        await stage.press("r")
        assert isinstance(stage.app.screen, LineInput)
        assert "\x1b" not in stage.text  # every line is looked at by the stage
        await stage.press("enter")
        assert isinstance(stage.app.screen, History)


@in_loop
async def test_ascii_only() -> None:
    state = make_state(make_view(1, "日本 é"), make_view(2, "b"))
    async with on_stage(history(state, ascii_only=True)) as stage:
        assert stage.text.isascii()
        await stage.press("b")
        assert stage.text.isascii()
        assert ">*" in stage.text
        await stage.press("k", "b")
        assert isinstance(stage.app.screen, Compare)
        assert stage.text.isascii()


@at_every_size
@in_loop
async def test_keys_move_and_enter_shows(size: tuple[int, int]) -> None:
    state = three()
    async with on_stage(history(state), size) as stage:
        assert "▌" in stage.line("Place:")
        await stage.press("k")
        assert "▌" in stage.line("Colour:")
        await stage.press("g", "down", "up", "j", "G", "home")
        assert "▌" in stage.line("Shape:")
        await stage.press("enter")
        assert state.current is state.runs[0]
        assert stage.app.results == [state.runs[0]]


@in_loop
async def test_leaving_changes_nothing() -> None:
    for key in ("escape", "q"):
        state = three()
        async with on_stage(history(state)) as stage:
            await stage.press("k", key)
            assert stage.app.results == [None]
            assert state.current is state.runs[2]


@in_loop
async def test_a_click_goes_there_and_another_one_shows() -> None:
    state = three()
    async with on_stage(history(state)) as stage:
        rows = stage.app.screen.query_one(HistoryList)
        await stage.pilot.click(rows, offset=(9, 2))
        assert rows.chosen is state.runs[1]
        await stage.pilot.click(rows, offset=(9, 9))  # below the runs
        assert rows.chosen is state.runs[1]
        await stage.pilot.click(rows, offset=(9, 0))  # a column's name sorts: Colour is first now
        assert rows.chosen is state.runs[1]
        await stage.pilot.click(rows, offset=(9, 1))
        assert stage.app.results == [state.runs[1]]


@at_one_size
@in_loop
async def test_rename(size: tuple[int, int]) -> None:
    state = three()
    async with on_stage(history(state), size) as stage:
        await stage.press("k", "r", *"mine", "enter")
        assert state.runs[1].run.title == "mine"
        assert "▌" in stage.line("mine")
        await stage.press("r", "x", "escape")
        assert state.runs[1].run.title == "mine"
        await stage.press("r", *["backspace"] * 4, "enter")
        assert state.runs[1].run.title is None
        assert "▌" in stage.line("Colour:")


@in_loop
async def test_a_title_that_cannot_be_shown_survives_being_looked_at() -> None:
    state = three()
    state.runs[2].run = replace(state.runs[2].run, title="\x1b[31m red")
    async with on_stage(history(state)) as stage:
        await stage.press("r", "enter")
        assert state.runs[2].run.title == "\x1b[31m red"


@at_one_size
@in_loop
async def test_delete_and_undo(size: tuple[int, int]) -> None:
    state = three()
    shape, colour, place = state.runs
    async with on_stage(history(state), size) as stage:
        await stage.press("u")
        assert "nothing has been deleted" in stage.text
        await stage.press("k", "D")
        assert state.runs == [shape, place]
        assert "u brings it back" in stage.text
        assert "▌" in stage.line("Place:")
        await stage.press("delete", "delete")
        assert state.runs == []
        assert "No runs" in stage.text
        await stage.press("delete", "r", "b", "enter")  # nothing to act on
        assert stage.app.results == []
        await stage.press("u", "u", "u")
        assert state.runs == [shape, colour, place]
        assert "▌" in stage.line("Colour:")
        await stage.press("k")
        assert "brought back" not in stage.text


@in_loop
async def test_a_run_that_is_running_stays() -> None:
    state = make_state(make_view(1, running=True, read=3))
    async with on_stage(history(state)) as stage:
        await stage.press("D")
        assert "ctrl+c cancels it" in stage.text
        assert len(state.runs) == 1


@at_one_size
@in_loop
async def test_two_are_marked_and_compared(size: tuple[int, int]) -> None:
    state = three()
    async with on_stage(history(state), size) as stage:
        await stage.press("b")
        assert "●" in stage.line("Place:")
        assert "b on another run" in stage.text
        await stage.press("b")  # the same one: the mark goes
        assert "●" not in stage.text
        assert isinstance(stage.app.screen, History)
        await stage.press("space", "g", "b")
        compare = stage.app.screen
        assert isinstance(compare, Compare)
        assert "Place:" in stage.lines[1]
        assert "Shape:" in stage.lines[2]
        await stage.press("q")
        assert isinstance(stage.app.screen, History)
        assert "●" not in stage.text


@in_loop
async def test_a_marked_run_that_is_deleted_is_marked_no_more() -> None:
    state = three()
    async with on_stage(history(state)) as stage:
        await stage.press("b", "D", "b")
        assert isinstance(stage.app.screen, History)
        assert "●" in stage.line("Colour:")


@at_one_size
@in_loop
async def test_it_is_live(size: tuple[int, int]) -> None:
    state = three()
    play = history(state)
    async with on_stage(play, size) as stage:
        running = make_view(4, "Next:", running=True, read=2)
        state.runs.append(running)
        state.current = running
        play.refresh_runs()
        await stage.pilot.pause()
        assert "at 2 of 11" in stage.line("Next:")
        assert "▌" in stage.line("Next:")  # goes with the run that is shown
        running.rows.extend(make_view(4).rows[2:])
        running.phase = Phase.DONE
        play.refresh_runs()
        await stage.pilot.pause()
        assert "99.0%" in stage.line("Next:")
        await stage.press("k")
        state.runs.insert(0, make_view(5, "Ahead:"))
        play.refresh_runs()
        await stage.pilot.pause()
        assert "▌" in stage.line("Place:")  # stays with the run that the user has gone to


@at_every_size
@in_loop
async def test_only_what_has_changed_is_drawn(size: tuple[int, int]) -> None:
    running = make_view(4, "Next:", running=True, read=2)
    state = make_state(make_view(1), running)
    play = history(state)
    async with on_stage(play, size) as stage:
        assert "Next:" in stage.text
        rows = play.query_one(HistoryList)
        drawn: list[int] = []

        def refresh(*regions: object, **_: object) -> HistoryList:
            drawn.append(len(regions))
            return rows

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(rows, "refresh", refresh)
            play.refresh_runs()
            assert drawn == []
            running.rows.append(make_view(4).rows[2])
            play.refresh_runs()
            assert drawn == [1]
        await stage.pilot.pause()


@at_one_size
@in_loop
async def test_two_hundred_runs(size: tuple[int, int]) -> None:
    state = make_state(*(make_view(index, f"Question {index}:") for index in range(1, 201)))
    async with on_stage(history(state), size) as stage:
        assert "▌" in stage.line("Question 200:")
        assert "of 200" in stage.lines[2] or "of 200" in stage.text
        for key, number in (("k", 199), ("g", 1), ("pagedown", None), ("G", 200)):
            await stage.press(key)
            (line,) = (line for line in stage.lines if "▌" in line)
            if number is not None:
                assert f"Question {number}:" in line
        await stage.press("g", *["j"] * 60)
        assert "▌" in stage.line("Question 61:")


@in_loop
async def test_resize() -> None:
    state = three()
    async with on_stage(history(state), (200, 60)) as stage:
        for width, height in ((80, 24), (60, 16), (120, 40)):
            await stage.pilot.resize_terminal(width, height)
            await stage.pilot.pause()
            assert "▌" in stage.line("Place:")


@in_loop
async def test_runs_are_sorted_and_filtered_by_any_column() -> None:
    state = make_state(
        make_view(1, "Shape:", picture=Picture(path="/a/two.png")),
        make_view(2, "Colour:", forms_at=8, picture=Picture(path="/a/one.png")),
        make_view(3, "Place:", read=4),
    )
    async with on_stage(history(state)) as stage:

        def names() -> list[str]:
            return [
                view.run.question.prompt for view in stage.app.screen.query_one(HistoryList).items
            ]

        await stage.press("o")
        assert names() == ["Colour:", "Place:", "Shape:"]
        assert "by question" in stage.text and "question↑" in stage.text
        await stage.press("O")
        assert names() == ["Shape:", "Place:", "Colour:"]
        await stage.press("slash", *"from>5")
        assert names() == ["Colour:"]
        assert "1 of 3 runs" in stage.text
        await stage.press("escape")
        assert len(names()) == 3
        rows = stage.app.screen.query_one(HistoryList)
        await stage.press("o", "o", "G")
        head = stage.line("question").index("from") - rows.region.x
        await stage.pilot.click(rows, offset=(head + 1, 0))
        await stage.pilot.pause()
        assert names() == ["Shape:", "Colour:", "Place:"]
        await stage.pilot.click(rows, offset=(head + 1, 0))
        assert names() == ["Colour:", "Shape:", "Place:"]
        await stage.pilot.click(rows, offset=(20, 1))  # a row: the first click only goes there
        assert stage.app.results == []
        await stage.press("slash", *"two.png", "enter", "enter")
        assert stage.app.results == [state.runs[0]]


@at_one_size
@in_loop
async def test_tags_and_a_note_are_kept_and_found(size: tuple[int, int]) -> None:
    state = three()
    async with on_stage(history(state), size) as stage:
        await stage.press("g", "number_sign", *"#odd sees two", "enter")
        assert state.runs[0].run.tags == ("odd",)
        assert state.runs[0].run.note == "sees two"
        assert "#odd" in stage.line("Shape:")
        await stage.press("slash", *"tags:odd")
        assert stage.app.screen.query_one(HistoryList).items == [state.runs[0]]
        await stage.press("enter", "number_sign", *["backspace"] * 20, "enter")
        assert not state.runs[0].run.tags
        assert state.runs[0].run.note is None
