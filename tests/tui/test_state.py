"""The view model by itself: events in, what to show out."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from engine import sessions
from engine.events import (
    ModelFailed,
    ReadingMade,
    RowsRead,
    RunEnded,
    RunStarted,
    Trouble,
)
from engine.methods.track import TrackReading, TrackRequest
from engine.records import Question, Run, Session
from tests.tui.fakes import ANSWER, finish, make_rows, make_run, tracked_tokens
from tui.state.run_view import Phase, RunView
from tui.state.view_state import ViewState
from tui.text.numbers import number, total_seconds

QUESTION = Question(prompt="Shape:")


def started(layers: int = 10) -> tuple[ViewState, Run]:
    state = ViewState(QUESTION)
    run = make_run("a" * 16, QUESTION, layers)
    state.ask(run.id)
    state.apply(RunStarted(run))
    return state, run


def test_a_run_from_start_to_end() -> None:
    state, run = started()
    rows = make_rows(10, forms_at=6)
    assert state.busy
    assert state.asked is None
    state.apply(RowsRead(run.id, tuple(rows[:7])))
    view = state.current
    assert view is not None
    assert (view.answer, view.formation, len(view.rows)) == (None, None, 7)
    state.apply(RowsRead(run.id, tuple(rows[7:])))
    assert view.answer is not None  # the last row is there, before the run has ended
    assert (view.answer.id, view.formation) == (ANSWER[0], 6)
    assert state.live is view
    state.apply(RunEnded(finish(run, rows)))
    assert not state.busy
    assert view.phase is Phase.DONE
    assert view.rows[9].answer is not None
    assert state.unsaved


def test_the_formation_row_is_where_the_answer_stays() -> None:
    rows = make_rows(10, forms_at=6)
    early = replace(rows[2], top=(rows[10].top[0], *rows[2].top))
    view = RunView(make_run("a" * 16, QUESTION), [*rows[:2], early, *rows[3:]])
    assert view.formation == 6  # not 2, where it was top-1 for one row only
    always = RunView(make_run("a" * 16, QUESTION), make_rows(10, forms_at=0))
    assert always.formation == 0
    never_twice = RunView(make_run("a" * 16, QUESTION), make_rows(10, forms_at=10))
    assert never_twice.formation == 10


def test_a_failed_proof_is_refused_and_not_kept() -> None:
    state, run = started()
    state.apply(RunEnded(finish(run, make_rows(10, 5), passed=False)))
    view = state.current
    assert view is not None
    assert view.refused
    assert not view.worth_keeping
    assert not state.unsaved
    assert state.session(row=0, with_live=True).runs == ()
    assert state.note is not None
    assert state.note.kind == "error"


def test_a_run_that_is_still_running_is_kept_as_cancelled() -> None:
    state, run = started()
    state.apply(RowsRead(run.id, tuple(make_rows(10, 5)[:3])))
    assert state.session(row=0, with_live=False).runs == ()
    (kept,) = state.session(row=2, with_live=True).runs
    assert (kept.status, len(kept.rows)) == ("cancelled", 3)


@pytest.mark.parametrize("rows", [0, 3])
def test_trouble_ends_a_run_and_keeps_its_rows(rows: int) -> None:
    state, run = started()
    state.apply(RowsRead(run.id, tuple(make_rows(10, 5)[:rows])))
    state.apply(Trouble("the pass failed", run.id))
    view = state.current
    assert view is not None
    assert (view.phase, len(view.rows), state.busy) == (Phase.FAILED, rows, False)
    assert view.worth_keeping == bool(rows)


def test_trouble_before_the_start() -> None:
    state = ViewState(QUESTION)
    state.ask("b" * 16)
    state.apply(Trouble("no such picture", "b" * 16))
    assert not state.busy
    state.ask("c" * 16)
    state.apply(ModelFailed("gone"))
    assert not state.busy


def test_late_rows_of_a_finished_run_are_ignored() -> None:
    state, run = started()
    rows = make_rows(10, 5)
    state.apply(RunEnded(finish(run, rows[:4], "cancelled")))
    state.apply(RowsRead(run.id, tuple(rows[4:])))
    state.apply(RowsRead("f" * 16, tuple(rows)))
    assert state.current is not None
    assert len(state.current.rows) == 4
    assert state.current.answer is None


def test_a_session_comes_back_as_it_was() -> None:
    state, run = started()
    state.apply(RunEnded(finish(run, make_rows(10, 5))))
    saved = state.session(row=7, with_live=False)
    again = ViewState(QUESTION, saved)
    assert again.current is not None
    assert again.current.run == saved.runs[0]
    assert again.reopened_row == 7
    assert not again.unsaved
    resaved = again.session(row=7, with_live=False)
    assert (resaved.runs, resaved.created, resaved.view) == (saved.runs, saved.created, saved.view)


def test_odd_views_do_no_harm() -> None:
    for view in ({"run": 5, "row": "x"}, {"row": -3}, {"run": "nothing"}, {}):
        session = Session(created="x", saved="x", runs=(), view=view)
        state = ViewState(QUESTION, session)
        assert state.current is None
        assert state.reopened_row is None
        state.switch(1)


def test_numbers() -> None:
    shown = [number(value) for value in (None, 0, 0.012345, 12.345, 1234.5, 2.4e-6, 1e9, -0.5)]
    assert shown == ["-", "0", "0.0123", "12.3", "1234", "2.4e-6", "1.0e9", "-0.5"]
    assert total_seconds(make_run("a" * 16, QUESTION)) is None
    assert total_seconds(finish(make_run("a" * 16, QUESTION), [])) == 0.412


def test_a_run_too_large_to_be_kept_is_shown_and_said_and_others_are_saved(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    state = ViewState(Question(prompt="Shape:"))
    small, large = make_run("a" * 16, state.question), make_run("b" * 16, state.question)
    rows = make_rows(10, 5)
    state.apply(RunStarted(small))
    state.apply(RunEnded(finish(small, rows[:2], "cancelled")))
    limit = len(sessions.run_to_json(state.runs[0].frozen())) + 100
    monkeypatch.setattr(sessions, "MAX_RUN_BYTES", limit)
    state.apply(RunStarted(large))
    state.apply(RunEnded(finish(large, rows)))
    assert state.note is not None
    assert state.note.text.startswith("this run is only shown, not kept in the session: it takes")
    assert state.note.text.endswith(f"the limit of a run is {limit:,}")
    assert [run.id for run in state.session(row=0, with_live=True).runs] == [small.id]
    assert len(state.runs[1].rows) == 11
    tracked = TrackReading(request=TrackRequest(), tracked=tracked_tokens([5, 6, 7], 2))
    state.apply(ReadingMade(small.id, "r", tracked))
    assert state.note.text.startswith("only shown, not kept in the session: it takes")
    assert state.runs[0].run.tracked == ()
    monkeypatch.undo()
    monkeypatch.setattr(sessions, "MAX_BYTES", 2 * limit)
    state.apply(RunStarted(large))
    state.apply(RunEnded(finish(large, rows)))
    assert "the session is full" in state.note.text
    sessions.write_session(state.session(row=0, with_live=True), tmp_path / "x.json")
