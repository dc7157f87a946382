"""How right whole answers are with each setting: each number can be counted."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from msgspec import UNSET, structs

from engine.counterfactuals.grammar import parse_against
from engine.errors import BadInput
from engine.records import Counterfactual
from engine.sweeps import figures
from engine.sweeps.by_setting import BySetting, YesOrNo
from engine.sweeps.comparing import compare_sweeps
from engine.sweeps.export import ANSWERS, answer_rows, numbers
from engine.sweeps.findings import ALL, Findings, find
from engine.sweeps.matching import Choices
from engine.sweeps.records import DecodedAnswer, DecodedAnswers, SettingAnswers, SweepItem
from engine.sweeps.report import sections
from engine.sweeps.results import Results, as_results
from engine.sweeps.section import Section
from engine.sweeps.settings import decoding_of, names_of
from tests.sweeps import test_findings as by_hand

DECODING = decoding_of({"draws": "2"}, ["temperature=1"])
CHOICES = Choices([("pope", "yes"), *(("shape", name) for name in ("cube", "sphere"))] * 4)
TITLE = "How often whole answers are right"


def answered(
    number: int,
    truth: str | None,
    *texts: str,
    group: str = "pope",
    picture: int | None = None,
    given: tuple[str, ...] = (),
    said: int = 7,
    choices: Choices = CHOICES,
) -> SweepItem:
    """An item that is answered so: greedily, and with two draws."""
    own = by_hand.item(number, [7, 7, 7, 7, said], truth, group=group, picture=picture)
    made = [
        DecodedAnswer(text, 1 + len(text.split()), True, choices.said_in(text, group, truth))
        for text in texts
    ]
    of = (tuple(made[:1]), tuple(made[1:]))
    reading = DecodedAnswers(
        tuple(map(SettingAnswers, names_of(DECODING), of)),
        given,
    )
    return structs.replace(own, readings=(reading,))


POPE = (
    answered(1, "yes", "Yes, it is.", "yes", "no", picture=1),
    answered(2, "yes", "No.", "Yes", "Yes yes", picture=1),
    answered(3, "yes", "yes", "I know nothing", "no", picture=2),
    answered(4, "no", "no", "no", "No", picture=2),
    answered(5, "no", "Yes", "No", "yes", picture=3),
    answered(6, "no", "There isn't one", "no", "no", picture=3),
)
"""Greedily 2 true yeses, 1 false yes, 1 false no, 1 true no, and 1 that says neither; drawn, of 12,
3 true yeses, 1 false yes, 2 false noes, 5 true noes, and 1 that says neither."""


def results(*items: SweepItem, against: tuple[Counterfactual, ...] = ()) -> Results:
    begin = by_hand.results(by_hand.item(1, [0] * 5), against=against).sweep
    sweep = structs.replace(begin, reads=("answer",), decoding=DECODING)
    return as_results(sweep, items, "here")


def found(*items: SweepItem, against: tuple[Counterfactual, ...] = ()) -> Findings:
    return find(results(*items, against=against), samples=200)


def of(findings: Findings, setting: str, group: str = "pope", against: str = "") -> BySetting:
    (each,) = [
        each
        for each in findings.by_setting
        if (each.group, each.setting, each.against) == (group, setting, against)
    ]
    return each


def yes_or_no(findings: Findings, setting: str, group: str = "pope") -> YesOrNo:
    counted = of(findings, setting, group).yes_or_no
    assert counted is not None
    return counted


def section(findings: Findings) -> Section:
    (each,) = [each for each in sections(findings) if each.title.startswith(TITLE)]
    return each


def test_metrics_of_pope_by_hand() -> None:
    findings = found(*POPE)
    for setting, tp, fp, fn, tn, neither in (
        ("greedy", 2, 1, 1, 1, 1),
        ("temperature=1", 3, 1, 2, 5, 1),
    ):
        each, total = yes_or_no(findings, setting), tp + fp + fn + tn + neither
        # The one that says neither is wrong: a yes that is missed if drawn, a no if greedy.
        positives = total / 2
        precision, recall = tp / (tp + fp), tp / positives
        assert each.accuracy.value == pytest.approx((tp + tn) / total)
        assert each.precision.value == pytest.approx(precision)
        assert each.recall.value == pytest.approx(recall)
        assert each.f1.value == pytest.approx(2 * precision * recall / (precision + recall))
        assert each.said_yes.value == pytest.approx((tp + fp) / total)
        assert each.is_yes.value == 0.5 and each.accuracy.n == 6
        assert each.neither.value == pytest.approx(neither / total)
        for interval in vars(each).values():
            assert 0 <= interval.low <= interval.value <= interval.high <= 1
    greedy, drawn = of(findings, "greedy"), of(findings, "temperature=1")
    assert (greedy.draws, drawn.draws) == (1, 2)
    assert greedy.right.value == pytest.approx(3 / 6) and math.isnan(greedy.apart.value)
    # Right in both, one or no draws: 1/2, 1, 0, 1, 1/2, 1; greedily 1, 0, 1, 1, 0, 0.
    assert drawn.right.value == pytest.approx(4 / 6)
    differences = np.array([-0.5, 1, -1, 0, 0.5, 1])
    assert drawn.apart.value == pytest.approx(differences.mean())
    assert drawn.apart.low <= differences.mean() <= drawn.apart.high
    assert drawn.matched.value == pytest.approx(11 / 12)
    assert drawn.tokens.value == pytest.approx((2 + 2.5 + 3 + 2 + 2 + 2) / 6)


def test_f1_is_undefined_where_there_is_no_yes() -> None:
    none = yes_or_no(found(answered(1, "no", "no", "no", "no")), "greedy")
    assert math.isnan(none.precision.value) and math.isnan(none.recall.value)
    assert math.isnan(none.f1.value) and none.accuracy.value == 1.0
    wrong = yes_or_no(found(answered(1, "yes", "no", "no", "no")), "greedy")
    assert math.isnan(wrong.precision.value) and wrong.recall.value == 0.0
    assert wrong.f1.value == 0.0


def test_groups_and_the_first_token_beside() -> None:
    """The first token "C" begins two answers and is never right; the whole answers are."""
    items = [
        answered(1, "cube", "C cube", "cube", "sphere", group="shape", said=3),
        answered(2, "sphere", "It is a sphere, no cube", "a cube", "cubes", group="shape", said=1),
        answered(3, "cylinder", "Cylinder.", "cylinder", "cylinder", group="shape", said=2),
        *(structs.replace(each, item=f"{n:016x}") for n, each in enumerate(POPE, 10)),
    ]
    findings = found(*items)
    shapes = of(findings, "greedy", "shape")
    assert shapes.right.value == 1.0 and shapes.first_token.value == pytest.approx(2 / 3)
    assert shapes.yes_or_no is None
    drawn = of(findings, "temperature=1", "shape")
    assert drawn.right.value == 0.5 and drawn.matched.value == pytest.approx(5 / 6)
    assert of(findings, "greedy", ALL).right.value == pytest.approx(6 / 9)
    assert yes_or_no(findings, "greedy", ALL) == yes_or_no(findings, "greedy")
    accuracy = next(each for each in sections(findings) if each.figure == "accuracy")
    assert accuracy.tables[0].columns[-1].name == "greedy answer, 95 %"
    assert [str(row[-1])[:6] for row in accuracy.tables[0].rows if row[0] == "shape"] == ["100.0%"]


def test_what_ten_people_answered() -> None:
    people = ("cube",) * 2 + ("sphere",) * 8
    items = (
        answered(1, "sphere", "sphere", "a cube", "red", group="shape", given=people),
        answered(2, "sphere", "cube", "cube", "cube", group="shape"),
    )
    greedy, drawn = (of(found(*items), name, "shape").soft for name in names_of(DECODING))
    assert (greedy.value, greedy.n) == (1.0, 1)
    assert drawn.value == pytest.approx((2 / 3 + 0) / 2)
    heads = [column.name for column in section(found(*items)).tables[0].columns]
    assert "by ten people, 95 %" in heads
    assert "by ten people, 95 %" not in [
        column.name for column in section(found(*POPE)).tables[0].columns
    ]


def test_without_a_truth_only_lengths_are_told() -> None:
    findings = found(answered(1, None, "a b", "c", "d e f"))
    each = of(findings, "temperature=1")
    assert math.isnan(each.right.value) and each.right.n == 0 and each.yes_or_no is None
    assert (each.tokens.value, each.ended.value, each.tokens.n) == (3.0, 1.0, 1)
    assert "no truths are known" in section(findings).notes


def test_truths_are_compared_in_full() -> None:
    """Signs, and texts longer than those shown; in the report as in the table of answers."""
    truth = "It is " + "very " * 80 + "red"
    signs = Choices([("sign", "<"), ("sign", ">")] * 2)
    items = (
        answered(1, truth, truth, truth, "red", group="long"),
        *(
            answered(number, sign, "<", "<", ">", group="sign", choices=signs)
            for number, sign in enumerate("<>", 2)
        ),
    )
    without = structs.replace(items[0], against="none", counterfactual=Counterfactual("none"))
    findings = found(*items, without, against=parse_against("none"))
    wanted = [[1.0, 0.5], [1.0, 0.5], [0.0, 0.5]]
    decoded, instead = findings.results.decoded, findings.results.instead["none"].decoded
    assert decoded is not None and decoded.right.tolist() == wanted
    assert instead is not None and instead.right[0].tolist() == wanted[0]
    rights = [line["right"] for line in answer_rows(items)]
    assert rights == [True, True, False, True, True, False, False, False, True]


def test_counterfactuals_stand_beside_their_pictures() -> None:
    without = structs.replace(
        answered(21, "yes", "no", "yes", "no", picture=1),
        prompt=POPE[0].prompt, against="none", counterfactual=Counterfactual("none"),
    )  # fmt: skip
    findings = found(*POPE, without, against=parse_against("none"))
    assert of(findings, "greedy").right.n == 6
    each = of(findings, "temperature=1", against="none")
    assert each.right.value == 0.5 and each.right.n == 2  # both questions about picture 1 are one
    table, ratios = section(findings).tables
    assert table.columns[1].name == ratios.columns[1].name == "shown"
    assert {row[1] for row in table.rows} == {"the picture", "none"}
    some = findings.results.only({findings.results.digests[0]})
    assert some.decoded is not None and some.decoded.right.shape == (2, 2)
    instead = some.instead["none"].decoded
    assert instead is not None and instead.right.tolist() == [[0.0, 0.5]] * 2


def test_items_without_answers_do_not_count() -> None:
    bare = structs.replace(POPE[0], item="f" * 16, readings=UNSET)
    assert of(found(*POPE, bare), "greedy").right.n == 6
    nothing = found(bare)
    assert not nothing.by_setting and nothing.results.decoded is None
    assert not any(each.title.startswith(TITLE) for each in sections(nothing))
    assert not any(str(line["finding"]).startswith("answers") for line in numbers(nothing))


def test_two_sweeps_compare_their_greedy_answers() -> None:
    one = results(*POPE)
    other = results(*(structs.replace(each, readings=UNSET) for each in POPE))
    measure = "accuracy of whole greedy answers"
    both = {each.measure: each for each in compare_sweeps(one, one, 3, samples=50).differences}
    assert both[measure].one.value == 0.5 and both[measure].difference.value == 0.0
    assert measure not in {
        each.measure for each in compare_sweeps(one, other, 3, samples=50).differences
    }


def test_it_is_shown_and_exported() -> None:
    findings = found(*POPE)
    shown = section(findings)
    first, second = shown.tables
    assert [row[1] for row in first.rows] == list(names_of(DECODING))
    assert str(first.rows[0][2]).startswith("50.0% [") and first.rows[0][3] == "-"
    assert str(second.rows[1][3]).startswith("75.0% [")  # precision: 3 of 4
    assert "2 where they are random" in shown.words
    assert figures._settings(found(answered(1, None, "a", "b", "c"))) is None
    lines = [line for line in numbers(findings) if line["finding"] == "answers"]
    f1 = next(each for each in lines if each["measure"] == "yes or no: f1")
    assert (f1["detail"], f1["value"]) == ("greedy", pytest.approx(2 / 3))
    exported = [*answer_rows(POPE)]
    assert len(exported) == 6 * 3 and {*exported[0]} == {*ANSWERS}
    last = exported[-1]
    assert (last["setting"], last["draw"], last["text"]) == ("temperature=1", 1, "no")
    assert (last["matched"], last["right"], last["soft"]) == ("no", True, None)


def test_a_sweep_that_is_not_greedy_first_is_refused(tmp_path: Path) -> None:
    import msgspec

    from engine.sweeps.store import SWEEP, read_sweep

    sweep = results(*POPE).sweep
    record = json.loads(msgspec.json.encode(sweep))
    (tmp_path / SWEEP).write_text(json.dumps(record))
    assert read_sweep(tmp_path) == sweep
    for settings in (record["decoding"]["settings"][::-1], record["decoding"]["settings"][:1] * 2):
        changed = {**record, "decoding": {**record["decoding"], "settings": settings}}
        (tmp_path / SWEEP).write_text(json.dumps(changed))
        with pytest.raises(BadInput, match="greedy first, and each once"):
            read_sweep(tmp_path)
