"""Positions other than a run's own, without a screen: what the state knows and what is asked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace
from rich.style import Style

from engine.arrays import Array
from engine.errors import Remedy
from engine.events import (
    LoadOptions,
    ReadingGrew,
    ReadingMade,
    RunEnded,
    RunStarted,
    Trouble,
)
from engine.methods.deepen import DeepenReading, DeepenRequest
from engine.methods.geometry import GeometryRequest
from engine.methods.grid import GridPart, GridReading, GridRequest
from engine.methods.visit import VisitReading, VisitRequest
from engine.methods.words import WordsRequest
from engine.records import AnswerReading, PromptToken, Question, ReadingProof, Run
from engine.sessions import read_session, write_session
from tests.tui.fakes import (
    ANSWER,
    chat_tokens,
    finish,
    grid_arrays,
    grid_reading,
    make_rows,
    make_run,
    visited,
    words_reading,
)
from tui.sharing.copying import row_text, table_text
from tui.startup import Startup
from tui.state.grid_cells import GridCells
from tui.state.heats import Heat
from tui.state.prompt_spans import Spans, patch_of
from tui.state.run_view import KEPT, RunView
from tui.state.view_state import ViewState
from tui.views.detail.detail_rows import (
    DetailLook,
    capacity,
    detail_lines,
    is_full,
    marks_at,
)
from tui.widgets.places import place_words, title_words
from tui.worker.asker import asks_for_positions

QUESTION = Question(prompt="Shape:")
LAYERS = 8


def a_run(identity: str = "a" * 16, patches: int = 12) -> Run:
    tokens = chat_tokens(["Shape", "of", "it"], patches)
    run = replace(make_run(identity, QUESTION, LAYERS), tokens=tokens, position=len(tokens) - 1)
    return finish(run, make_rows(LAYERS, 4))


def a_state(*runs: Run) -> ViewState:
    state = ViewState(QUESTION)
    for run in runs:
        state.apply(RunStarted(replace(run, rows=(), proof=None, status="cancelled")))
        state.apply(RunEnded(run))
    return state


def visit(state: ViewState, *positions: int) -> None:
    assert state.current is not None
    others = tuple(visited(position, LAYERS) for position in positions)
    reading = VisitReading(request=VisitRequest(positions=positions), others=others)
    state.apply(ReadingMade(state.current.run.id, "v", reading))


# The prompt as it is walked


def test_a_folded_picture_is_one_step_and_an_unfolded_one_is_many() -> None:
    tokens = chat_tokens(["Shape"], patches=12)
    folded, unfolded = Spans.of(tokens, unfolded=False), Spans.of(tokens, unfolded=True)
    assert (len(folded), len(unfolded)) == (9, 20)
    assert [span.count for span in folded.all] == [1] * 5 + [12] + [1] * 3
    assert folded.step(4, 1) == 5
    assert folded.step(5, 1) == folded.step(11, 1) == 17
    assert folded.step(17, -1) == 5
    assert unfolded.step(5, 1) == 6
    assert (folded.step(0, -1), folded.step(19, 1)) == (0, 19)
    assert folded.index(11) == 5
    one = Spans.of(chat_tokens([], patches=1), unfolded=False)
    assert not any(span.folded for span in one.all)
    assert Spans.of((), unfolded=False).step(3, 1) == 3


def test_the_parts_of_a_prompt_are_walked_one_by_one() -> None:
    spans = Spans.of(chat_tokens(["Shape", "of", "it"], patches=12), unfolded=False)
    seen: list[int] = []
    at = 0
    while not seen or at != seen[-1]:
        seen.append(at)
        at = spans.next_part(at, 1)
    assert seen == [0, 2, 4, 5, 17, 20, 21]
    back = [spans.next_part(place, -1) for place in (21, 19, 18, 17, 0)]
    assert back == [20, 17, 17, 5, 0]


def test_patches_are_counted_from_one_in_their_own_picture() -> None:
    tokens = chat_tokens([], patches=3)
    two = (*tokens[:8], PromptToken(9, "\n", "text", "template"), *tokens[5:])
    assert [patch_of(two, at) for at in (4, 5, 7, 8, 9, 99)] == [
        None, (1, 3), (3, 3), None, (1, 3), None,
    ]  # fmt: skip


# Another position of a run


def test_a_position_that_was_visited_is_shown_in_its_place() -> None:
    state = a_state(a_run())
    own = state.current
    assert own is not None
    assert state.here is own
    state.place = 18
    assert state.here is not None
    assert (state.here.rows, state.here.blank) == ([], "position 18 has not been read")
    assert state.here.own is own
    visit(state, 18, 3)
    here = state.here
    assert (here.run.position, here.blank, len(here.rows)) == (18, "", LAYERS + 1)
    assert here.rows[0].top[0].text == " w18"
    assert here.formation == LAYERS - 2
    assert own.run.position == 21
    assert [other.position for other in own.run.others] == [3, 18]
    for place in (21, None, 22, -1, 10**9):
        state.place = place
        assert state.here is own


def test_places_belong_to_their_runs() -> None:
    state = a_state(a_run("a" * 16), a_run("b" * 16))
    state.place = 4
    state.switch(-1)
    assert state.place is None
    state.place = 7
    state.switch(1)
    assert state.place == 4


def test_a_token_keeps_its_colour_at_every_position() -> None:
    state = a_state(a_run())
    own = state.current
    assert own is not None
    before = dict(own.hues)
    visit(state, 3, 18)
    at_3 = own.at(3)
    assert at_3 is not None
    assert before.items() <= own.hues.items()
    assert at_3.hues == own.hues
    assert at_3.rows[0].top[0].id in own.hues
    first = dict(own.hues)
    assert own.at(18) is not None
    assert first.items() <= own.hues.items()


def test_more_tokens_of_a_row_belong_to_the_position_where_they_were_read() -> None:
    state = a_state(a_run())
    own = state.current
    assert own is not None
    visit(state, 18)
    for position, count in ((18, 40), (None, 30)):
        request = DeepenRequest(layer=2, count=count, position=position)
        row = make_rows(LAYERS, 4, count)[2]
        state.apply(ReadingMade(own.run.id, "d", DeepenReading(request=request, row=row)))
    state.place = 18
    assert state.here is not None
    lengths = [len(view.reading(2).top) for view in (own, state.here)]  # type: ignore[union-attr]
    assert lengths == [30, 40]


def test_a_row_that_is_not_shown_any_more_is_not_kept_to_its_end() -> None:
    state = a_state(a_run())
    own = state.current
    assert own is not None
    visit(state, 18)

    def read(position: int | None, count: int = KEPT + 500) -> int:
        request = DeepenRequest(layer=2, count=count, position=position)
        row = make_rows(LAYERS, 4, count)[2]
        state.apply(ReadingMade(own.run.id, "d", DeepenReading(request=request, row=row)))
        view = own.at(own.place(position))
        assert view is not None
        return len(view.deepened[2].top)

    assert read(None) == read(18) == KEPT
    here = own.at(18)
    assert here is not None
    here.keep_whole(18, (1, 2))
    assert (read(18), read(None)) == (KEPT + 500, KEPT)
    own.keep_whole()
    assert len(here.deepened[2].top) == KEPT
    assert read(18) == KEPT


def test_a_session_remembers_the_place(tmp_path: Path) -> None:
    state = a_state(a_run())
    assert "place" not in state.session(row=0, with_live=False).view
    state.place = 18
    visit(state, 18)
    path = tmp_path / "x.json"
    write_session(state.session(row=3, with_live=False), path)
    again = ViewState(QUESTION, read_session(path))
    assert again.place == 18
    assert again.here is not None
    assert again.here.rows[0].top[0].text == " w18"
    for odd in (-1, 22, True, "18", None, 10**30):
        session = replace(read_session(path), view={"place": odd})
        assert ViewState(QUESTION, session).place is None


def test_what_is_copied_says_its_position() -> None:
    state = a_state(a_run())
    visit(state, 18)
    state.place = 18
    here, own = state.here, state.current
    assert here is not None
    assert own is not None
    for form, words in (
        ("text", "Read at position 18 (0-21), after the token"),
        ("markdown", r"Read at position 18 \(0\-21\), after the token"),
    ):
        assert words in table_text(here, form, 3)
        assert "osition 18" not in table_text(own, form, 3)
    assert "proof" not in table_text(here, "text", 3)
    assert " w18" in row_text(here, 0, "tsv")
    for form, head, mark in (("tsv", "position\t", "18\t"), ("csv", "position,", "18,"),
                             ("markdown", "| position |", "| 18 |")):  # fmt: skip
        lines = row_text(here, 0, form, 1).splitlines()
        assert lines[0].startswith(head)
        assert lines[-1].startswith(mark)
        assert "position" not in row_text(own, 0, form, 1)
    assert "| next here" in row_text(here, 0, "markdown", 1, ("answer",))
    assert "| answer" in row_text(own, 0, "markdown", 1, ("answer",))
    assert '"others": [{"position": 18' in table_text(here, "json")
    assert (title_words(here, 18), title_words(here, 21)) == ("at position 18 (0-21)", "")


def test_the_detail_does_not_call_what_another_position_says_next_the_answer() -> None:
    state = a_state(a_run())
    visit(state, 18)
    state.place = 18
    here, own = state.here, state.current
    assert here is not None
    assert own is not None
    row = replace(own.rows[3], answer=AnswerReading(0.046, None, 3))
    look = DetailLook(Style(), Style(), Style())
    for view, name in ((own, "answer 4.60%"), (here, "next here 4.60%")):
        lines = detail_lines(
            row, None, None, (78, 6), look, answer_name=view.answer_name, ascii_only=False
        )
        assert f"  {name}" in lines[0][0][0]


@pytest.mark.parametrize("size", [(50, 6), (78, 6), (150, 6), (78, 20), (150, 20)])
@pytest.mark.parametrize("first", [0, 995])
def test_the_marks_of_moves_are_where_they_are_said_to_be(
    size: tuple[int, int], first: int
) -> None:
    row, look = make_rows(LAYERS, 4, 1200)[2], DetailLook(Style(), Style(), Style())
    row = replace(row, top=tuple(replace(each, id=at) for at, each in enumerate(row.top)))
    before = replace(row, top=tuple(reversed(row.top)))
    lines = detail_lines(row, before, None, size, look, first=first, ascii_only=False)
    last = first + capacity(*size)
    marks = marks_at(*size, last)
    for line in lines[2 if is_full(*size) else 1 :][: capacity(*size) // len(marks) - 1]:
        text = "".join(part for part, _ in line)
        signs = [at for at, sign in enumerate(text) if sign in "▲▼"]
        assert signs == [mark.start for mark in marks]


def test_a_place_in_words_fits_on_a_narrow_screen() -> None:
    own = RunView.of(a_run())
    said = [place_words(own, at, row, ascii_only=False) for at, row in ((18, 3), (6, 3), (6, 0))]
    assert said[0] == "a row says the next token; position 18 (0-21), prompt, after ␣of"
    assert said[1] == "nothing trained it to name the patch; position 6 (0-21), patch 2 of 12"
    assert said[2] == "row 0 is the projector's output; position 6 (0-21), patch 2 of 12"
    own.take_part(part([0], own.run))
    assert place_words(own, 0, 3, ascii_only=False).startswith("a sink: its massive activations")
    assert place_words(own, 22, 3, ascii_only=False) == ""
    assert max(map(len, said)) <= 78


# What is asked


@pytest.mark.parametrize(
    ("request_", "everywhere"),
    [
        (VisitRequest(positions=(3,)), True),
        (GridRequest(), True),
        (WordsRequest(words=("#17",)), True),
        (DeepenRequest(layer=1, position=3), True),
        (DeepenRequest(layer=1, position=21), False),
        (DeepenRequest(layer=1), False),
        (GeometryRequest(), False),
    ],
)
def test_which_requests_need_the_streams_of_all_positions(
    request_: object, everywhere: bool
) -> None:
    run = RunView.of(a_run())
    assert asks_for_positions(run, request_) is everywhere  # type: ignore[arg-type]


def test_streams_of_all_positions_that_are_gone_leave_the_runs_own() -> None:
    from tests.tui.fakes import FakeWorker
    from tui.state.dispatch import Dispatch
    from tui.worker.asker import Asker

    state = ViewState(QUESTION)
    worker = FakeWorker(lambda event: None, tokens=chat_tokens(["Shape"], 4))
    startup = Startup(
        options=LoadOptions("m"), question=QUESTION, worker=lambda tell: worker,
        keys={"run": "f8"},
    )  # fmt: skip
    asker = Asker(state, startup, lambda event: None)
    dispatch = Dispatch(state, list)
    asker.connect(dispatch)
    asker.load(LoadOptions("m"), None)
    worker.start = lambda: None  # type: ignore[method-assign]
    from engine.events import ModelReady
    from tests.tui.fakes import CARD

    dispatch.tell([ModelReady(CARD, LAYERS, True, True, "tail", 0.1, 16, 2)])
    runs = []
    for _ in range(3):
        asker.run(lambda: QUESTION)
        run = replace(a_run(), id=worker.asked[-1][1])
        dispatch.tell([RunStarted(replace(run, rows=(), proof=None)), RunEnded(run)])
        assert state.current is not None
        runs.append(state.current)
    assert [asker.keeps_everywhere(run) for run in runs] == [False, True, True]
    assert all(asker.keeps_stream_of(run) for run in runs)
    words = "the streams of this run are no longer kept: f8 runs it again"
    assert asker.why_not(runs[0], GridRequest()) == words
    assert asker.read(runs[0], GridRequest()) is None
    made = asker.read(runs[1], GridRequest())
    assert made is not None
    dispatch.tell([Trouble("gone", runs[1].run.id, (Remedy.RUN_AGAIN,), made)])
    assert not asker.keeps_everywhere(runs[1])
    assert asker.keeps_stream_of(runs[1])
    own = asker.read(runs[1], DeepenRequest(layer=1))
    dispatch.tell([Trouble("gone", runs[1].run.id, (Remedy.RUN_AGAIN,), own)])
    assert not asker.keeps_stream_of(runs[1])


# The cells of a grid


def part(rows: list[int], run: Run, positions: range | None = None) -> GridPart:
    places = positions or range(len(run.tokens))
    arrays = grid_arrays(rows, places, run.layers)
    return GridPart(tuple(rows), tuple(places), sinks=(0,), of=run.layers + 1, **arrays)


def test_cells_arrive_row_by_row_and_what_is_missing_has_none() -> None:
    state = a_state(a_run())
    own = state.current
    assert own is not None
    assert own.cells is None
    state.apply(ReadingGrew(own.run.id, "g", part([5], own.run)))
    cells = own.cells
    assert cells is not None
    assert (cells.rows, cells.has_row(5), cells.has_row(4)) == (1, True, False)
    cell = cells.cell(5, 7)
    assert cell is not None
    assert cell.probability == pytest.approx(0.02 + 0.9 * 5 / LAYERS, abs=1e-6)
    assert cell.rms == pytest.approx(5.57, abs=1e-6)
    assert (cells.cell(4, 7), cells.cell(5, 22), cells.cell(5, -1)) == (None, None, None)
    assert cells.sinks == {0}
    assert own.run.readings == ()  # nothing is stored before it is whole
    assert not state.find(own.run.id).saved  # type: ignore[union-attr]


def test_a_grid_that_is_stored_is_there_again_without_a_model(tmp_path: Path) -> None:
    state = a_state(a_run())
    assert state.current is not None
    reading = grid_reading(GridRequest(first=3), LAYERS, 22)
    words = words_reading(WordsRequest(words=("#17",)), LAYERS, 22)
    for found in (reading, words):
        state.apply(ReadingMade(state.current.run.id, "g", found))
    path = tmp_path / "x.json"
    write_session(state.session(row=0, with_live=False), path)
    cells = ViewState(QUESTION, read_session(path)).runs[0].cells
    assert cells is not None
    before = state.current.cells
    assert before is not None
    for row in range(LAYERS + 1):
        for place in range(22):
            assert cells.cell(row, place) == before.cell(row, place) is not None
            assert cells.word(17, row, place) == before.word(17, row, place) is not None
    assert cells.word(18, 0, 0) is None


def test_several_readings_of_one_grid_are_put_together() -> None:
    run = a_run()
    cells = GridCells()
    cells.add(part([2], run, range(0, 10)))
    cells.add(part([2], run, range(8, 22)))
    assert [cells.cell(2, at) is not None for at in (0, 9, 21)] == [True] * 3
    kl = grid_reading(GridRequest(kl=True), LAYERS, 22)
    cells.add(kl)
    cells.add(part([2], run))  # without KL: what is known of it stays
    cell = cells.cell(2, 3)
    assert cell is not None
    assert cell.kl == pytest.approx(4 - 2 * 4 / LAYERS)


def test_the_most_common_token_of_the_patches() -> None:
    run = a_run()
    cells = GridCells()
    cells.add(part([LAYERS], run))
    found = cells.common(LAYERS, 5, 16)
    assert found is not None
    cell, count, known = found
    ids = [cells.cell(LAYERS, at).id for at in range(5, 17)]  # type: ignore[union-attr]
    assert (cell.id, count, known) == (ANSWER[0], ids.count(ANSWER[0]), 12)
    assert cells.common(3, 5, 16) is None
    assert cells.common(LAYERS, 40, 50) is None


def test_a_grid_that_failed_its_proof_or_is_damaged_says_so() -> None:
    reading = grid_reading(GridRequest(), LAYERS, 22)
    cells = GridCells()
    failed = ReadingProof("this with that", 0.5, 0.1, passed=False)
    cells.add(replace(reading, proof=failed))
    assert cells.failed == "the grid's proof failed, do not believe it"
    for damage in ("!" * len(reading.lse.data), reading.lse.data[:-8] + "AAAAAAAA"):
        cells = GridCells()
        cells.add(replace(reading, lse=Array(reading.lse.dtype, reading.lse.shape, damage, True)))
        assert cells.failed is not None
        assert cells.failed.startswith("the grid cannot be read: a damaged array")
        assert cells.cell(0, 0) is None
    cells = GridCells()
    short = Array.of(np.zeros((1, 3), "<f4"), "<f4")
    cells.add(replace(part([1], a_run()), rms=short))
    assert cells.failed is not None
    assert cells.cell(1, 0) is None


def test_a_sparse_grid_of_a_long_prompt_takes_no_room() -> None:
    """One position of a million, in ten thousand rows: nothing of the prompt's length is made."""
    rows = tuple(range(10_000))
    arrays = grid_arrays(rows, [999_999], 9_999)
    cells = GridCells()
    cells.add(GridReading(request=GridRequest(), rows=rows, positions=(999_999,), **arrays))
    assert cells.cell(9_999, 999_999) is not None
    assert cells.cell(9_999, 0) is None


@pytest.mark.parametrize(
    ("heat", "values", "steps"),
    [
        (Heat.PROBABILITY, [0.0, 0.1249, 0.125, 0.5, 0.99, 1.0], [0, 0, 1, 4, 7, 7]),
        (Heat.ENTROPY, [0.0, 1.4, 1.5, 6.1, 99.0], [0, 0, 1, 4, 7]),
        (Heat.KL, [0.0, 0.9, 1.0, 7.5, 1e30], [0, 0, 1, 7, 7]),
        (Heat.WORD, [0.0, 1e-9, 2e-7, 2e-2, 0.5, 1.0], [0, 0, 1, 6, 7, 7]),
        (Heat.KL, [None, float("nan"), float("inf"), -1.0], [0, 0, 0, 0]),
    ],
)
def test_heat_has_eight_steps(heat: Heat, values: list[float | None], steps: list[int]) -> None:
    assert [heat.step(value) for value in values] == steps
