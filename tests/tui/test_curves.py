"""Which tokens are followed through a run, and their values."""

from __future__ import annotations

import math

from msgspec.structs import replace

from engine.records import LayerReading, Question, Token, Tracked
from tests.tui.fakes import ANSWER, finish, make_rows, make_run, track
from tui.state.curves import MOST, Curve, curves_of
from tui.state.measures import Measure
from tui.state.run_view import RunView

QUESTION = Question(prompt="Shape:")


def ended(layers: int = 12, words: list[str] | None = None) -> RunView:
    rows = make_rows(layers, forms_at=layers // 2, words=words)
    return RunView.of(finish(make_run("a" * 16, QUESTION, layers), rows))


def tracked(token: int, rows: int = 13) -> Tracked:
    return Tracked(token, f" t{token}", "user", (0.1,) * rows, (None,) * rows, (9,) * rows)


def test_the_tokens_are_the_answer_and_every_leader() -> None:
    run = ended()
    curves, more = curves_of(run, Measure.PROBABILITY)
    assert more == 0
    assert curves[0].id == ANSWER[0]
    assert curves[0].is_answer
    assert not any(curve.is_answer for curve in curves[1:])
    assert {curve.id for curve in curves} == {token.id for token in run.leaders}
    assert {curve.id: curve.hue for curve in curves} == run.hues
    assert all(len(curve.points) == 13 for curve in curves)


def test_what_the_user_tracks_comes_before_the_leaders() -> None:
    run = ended()
    track(run, [tracked(5)])
    curves, _ = curves_of(run, Measure.PROBABILITY)
    assert [curve.id for curve in curves[:2]] == [ANSWER[0], 5]
    run.untrack(5)
    curves, _ = curves_of(run, Measure.PROBABILITY)
    assert 5 not in {curve.id for curve in curves}


def test_leaders_of_most_rows_come_first() -> None:
    run = RunView(make_run("a" * 16, QUESTION, 12))
    tops = [(1, 0.9), (2, 0.3), (2, 0.3), (3, 0.8)]
    run.rows = [
        LayerReading(layer, (Token(token, f"t{token}", share, 0.0),), 1.0, 1.0)
        for layer, (token, share) in enumerate(tops)
    ]
    curves, _ = curves_of(run, Measure.PROBABILITY)
    assert [curve.id for curve in curves] == [2, 1, 3]


def test_while_rows_come_in_a_token_is_known_where_it_is_among_the_first() -> None:
    run = RunView(make_run("a" * 16, QUESTION, 12))
    run.rows = [replace(row, top=row.top[:2]) for row in make_rows(12, forms_at=6, top_k=3)[:5]]
    curves, _ = curves_of(run, Measure.RANK)
    assert [curve.text for curve in curves] == [" red", " cube"]
    assert curves[0].points == (1.0, 1.0, 1.0, None, None)
    assert curves[1].points == (2.0, 2.0, 2.0, 1.0, 1.0)
    assert not any(curve.is_answer for curve in curves)


def test_once_the_run_has_ended_every_row_is_known() -> None:
    run = ended()
    assert curves_of(run, Measure.PROBABILITY)[0][0].points == (0.5,) * 13


def test_measures() -> None:
    run = ended()
    track(run, [Tracked(5, " x", "user", (0.5, 0.0) + (0.1,) * 11, (None,) * 13, (3,) + (9,) * 12)])
    by_measure = {
        measure: next(c for c in curves_of(run, measure)[0] if c.id == 5) for measure in Measure
    }
    assert by_measure[Measure.PROBABILITY].points[:2] == (0.5, 0.0)
    assert by_measure[Measure.LOG].points[:2] == (math.log(0.5), None)
    assert by_measure[Measure.RANK].points[:2] == (3.0, 9.0)
    assert Measure.PROBABILITY.next is Measure.LOG
    assert Measure.RANK.next is Measure.PROBABILITY


def test_no_more_curves_than_can_be_told_apart() -> None:
    run = ended(120, [f" word{index}" for index in range(40)])
    curves, more = curves_of(run, Measure.PROBABILITY)
    assert len(curves) == MOST
    assert more == len(run.leaders) - MOST > 0
    assert curves[0].is_answer
    track(run, [tracked(token, 121) for token in range(1000, 1020)])
    curves, now = curves_of(run, Measure.PROBABILITY)
    assert len(curves) == MOST
    assert now == more + 20


def test_a_curve_is_parted_where_it_is_not_known() -> None:
    curve = Curve(1, "t", 0, False, (None, 0.1, 0.2, None, None, 0.3, None))
    assert curve.stretches == (((1, 0.1), (2, 0.2)), ((5, 0.3),))
    assert curve.known == ((1, 0.1), (2, 0.2), (5, 0.3))
    assert Curve(1, "t", 0, False, ()).stretches == ()
