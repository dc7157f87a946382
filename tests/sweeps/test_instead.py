"""What is found about items without their pictures, on trajectories made by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pytest
from msgspec import structs

from engine.counterfactuals.grammar import parse_against
from engine.errors import BadInput
from engine.records import Counterfactual
from engine.sweeps import figures
from engine.sweeps.export import item_rows, numbers, replaced_rows
from engine.sweeps.findings import ALL, Findings, find
from engine.sweeps.instead import InsteadOfPicture
from engine.sweeps.records import SweepItem
from engine.sweeps.report import sections
from engine.sweeps.results import Results
from tests.sweeps import test_findings as by_hand

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CUBE, SPHERE, RED, COLON = 0, 1, 6, 7
AGAINST = parse_against("none,noise")


def without(own: SweepItem, said: Sequence[int], against: str, p: float = 0.6) -> SweepItem:
    """The same question without its picture, to which every row says something else."""
    number = int(own.item, 16) + 1000 * (1 + [*"no"].index(against[1]) if against else 1)
    made = by_hand.item(number, said, own.truth, own.group, ps=[p] * len(said))
    return structs.replace(
        made, picture=own.picture, against=against, counterfactual=Counterfactual(against)
    )


def results(*items: SweepItem) -> Results:
    return by_hand.results(*items, against=AGAINST)


def found(*items: SweepItem) -> Findings:
    return find(results(*items), samples=200)


def of(findings: Findings, group: str, against: str = "none") -> InsteadOfPicture:
    (each,) = [e for e in findings.instead if (e.group, e.against) == (group, against)]
    return each


@pytest.fixture
def four() -> list[SweepItem]:
    """Two of shape, two of colour; without the picture one answer stays, and one is right."""
    own = [
        by_hand.item(1, [COLON, COLON, SPHERE, SPHERE, SPHERE], "sphere"),
        by_hand.item(2, [COLON, COLON, CUBE, CUBE, CUBE], "sphere"),
        by_hand.item(3, [COLON, RED, RED, RED, RED], "red", "colour"),
        by_hand.item(4, [COLON, RED, RED, RED, RED], "red", "colour"),
    ]
    said = [SPHERE, SPHERE, COLON, COLON]
    return [
        *own,
        *(without(each, [COLON] * 4 + [w], "none") for each, w in zip(own, said, strict=True)),
    ]


def test_every_number_can_be_counted(four: list[SweepItem]) -> None:
    findings = found(*four)
    assert [(each.group, each.against) for each in findings.instead] == [
        ("shape", "none"), ("colour", "none"), (ALL, "none"),
    ]  # fmt: skip
    shape, colour, everything = (of(findings, name) for name in ("shape", "colour", ALL))
    assert [each.same.value for each in (shape, colour, everything)] == [0.5, 0.0, 0.25]
    assert [each.right.value for each in (shape, colour, everything)] == [0.5, 1.0, 0.75]
    assert [each.right_without.value for each in (shape, colour, everything)] == [1.0, 0.0, 0.5]
    assert [each.right_lost.value for each in (shape, colour, everything)] == [-0.5, 1.0, 0.25]
    assert everything.same.n == everything.right.n == 4 and shape.same.n == 2
    rest = 0.4 / 7
    assert colour.truth.value == pytest.approx([rest, 0.6, 0.6, 0.6, 0.6])
    assert colour.truth_without.value == pytest.approx([rest] * 5)
    assert colour.truth_lost.value == pytest.approx([0, *[0.6 - rest] * 4])
    assert shape.truth.value == pytest.approx([rest, rest, *[(0.6 + rest) / 2] * 3])
    assert shape.truth_without.value == pytest.approx([*[rest] * 4, 0.6])
    low, high = everything.same.low, everything.same.high
    assert 0 <= low < 0.25 < high <= 1


def test_what_there_was_before_is_of_the_items_with_their_pictures(four: list[SweepItem]) -> None:
    own, both = found(*four[:4]), found(*four)
    assert own.instead == ()
    assert {**vars(own), "results": 0, "instead": 0}.keys() == vars(both).keys()
    assert [*numbers(own)] == [
        line for line in numbers(both) if line["finding"] != "instead of the picture"
    ]
    assert both.results.items == own.results.items
    before, after = sections(own), sections(both)
    (new,) = [each for each in after if each.title not in {one.title for one in before}]
    assert [each for each in after if each is not new] == [*before]
    shown, rows = new.tables
    assert len(shown.rows) == 3 and [row[1] for row in rows.rows] == ["the picture", "none"] * 3


def test_lines_in_any_order_and_without_their_items(four: list[SweepItem]) -> None:
    in_order = found(*four)
    turned = found(*reversed(four))
    for group in ("shape", "colour", ALL):
        one, other = of(in_order, group), of(turned, group)
        assert one.same == other.same and np.array_equal(
            one.truth_lost.value, other.truth_lost.value
        )
    lonely = without(by_hand.item(9, [CUBE] * 5, "cube"), [CUBE] * 5, "none")
    assert of(found(*four, lonely), ALL).same.n == 4
    with pytest.raises(BadInput, match="no results yet"):
        results(lonely)


def test_only_items_that_have_both_count(four: list[SweepItem]) -> None:
    own, others = four[:4], four[4:]
    noisy = without(own[0], [COLON] * 5, "noise=500", 0.9)
    findings = found(*own, *others[1:], noisy)
    assert of(findings, "shape").same.n == 1 and of(findings, "shape").right.value == 0.0
    assert [each.group for each in findings.instead if each.against == "noise=500"] == [
        "shape",
        ALL,
    ]
    assert of(findings, ALL, "noise=500").truth_without.value[-1] == pytest.approx(0.1 / 7)
    lines = [line for line in numbers(findings) if line["finding"] == "instead of the picture"]
    assert {line["detail"] for line in lines} == {"none", "noise=500"}
    assert len(lines) == 5 * (4 + 3 * 5)


def test_without_truths_answers_are_still_compared() -> None:
    own = by_hand.item(1, [RED] * 5)
    findings = found(own, without(own, [RED] * 5, "none"))
    each = of(findings, "shape")
    assert each.same.value == 1.0 and math.isnan(each.right.value)
    assert np.isnan(each.truth.value).all()
    (section,) = [s for s in sections(findings) if s.title == "What it says without the picture"]
    assert len(section.tables) == 1 and section.figure is None
    assert section.tables[0].rows[0][2:] == (
        "100.0% [100.0%, 100.0%]", "1", "-", "-", "-", "0",
    )  # fmt: skip


def test_the_picture_is_shown_of_the_items_that_have_both(four: list[SweepItem]) -> None:
    """Of one item that is wrong, of another that is right, and never of those not asked about."""
    own, others = four[:4], four[4:]
    noisy = without(own[0], [COLON] * 5, "noise=500", 0.9)
    (section,) = [
        each
        for each in sections(found(*own, *others[1:], noisy))
        if each.title == "What it says without the picture"
    ]
    shape = [row[1:] for row in section.tables[1].rows if row[0] == "shape"]
    assert [(row[0], row[5], row[-1]) for row in shape] == [
        ("the picture", "5.7%", "1"), ("none", "60.0%", "1"),
        ("the picture", "60.0%", "1"), ("noise=500", "1.4%", "1"),
    ]  # fmt: skip
    colour = [row[1] for row in section.tables[1].rows if row[0] == "colour"]
    assert colour == ["the picture", "none"]


def test_how_many_have_a_truth_is_shown_of_what_needs_one(four: list[SweepItem]) -> None:
    unknown = by_hand.item(9, [COLON] * 5)
    findings = found(*four, unknown, without(unknown, [COLON] * 5, "none"))
    (section,) = [s for s in sections(findings) if s.title == "What it says without the picture"]
    compared = section.tables[0]
    places = [compared.heads.index(head) for head in ("n", "n with a truth")]
    assert [tuple(row[place] for place in places) for row in compared.rows] == [
        ("3", "2"), ("2", "2"), ("5", "4"),
    ]  # fmt: skip


def drawn(findings: Findings) -> Figure:
    figure = figures._instead(findings)
    assert figure is not None
    return figure


def test_a_counterfactual_has_one_colour_in_all_panels(four: list[SweepItem]) -> None:
    pytest.importorskip("matplotlib")
    noisy = [without(each, [COLON] * 5, "noise=500") for each in four[2:4]]
    figure = drawn(found(*four, *noisy))  # of shape, there is only "none"
    everything, shape, colour = (
        {str(line.get_label()): line.get_color() for line in axes.get_lines()}
        for axes in figure.axes
    )
    assert shape.keys() == {"the picture", "none"}
    assert colour.keys() == {"the picture", "none", "noise=500"}
    assert everything["none"] == shape["none"] == colour["none"] != colour["noise=500"]
    # All items were asked with "none", and only some of them with noise.
    assert {*everything} == {
        "the picture, beside none", "the picture, beside noise=500", "none", "noise=500",
    }  # fmt: skip
    (legend,) = figure.legends
    names = [text.get_text() for text in legend.get_texts()]
    assert {*names} == {*everything, *shape} and len(names) == 5
    assert figure.get_supxlabel() == ""


def test_a_figure_says_what_it_leaves_out() -> None:
    pytest.importorskip("matplotlib")
    asked = parse_against(",".join(f"noise={step}" for step in range(8)))
    own = [by_hand.item(n, [RED] * 5, "red", f"group {n}") for n in range(1, 7)]
    others = [
        structs.replace(
            by_hand.item(100 * n + step, [COLON] * 5, "red", each.group),
            picture=each.picture,
            against=f"noise={step}",
            counterfactual=asked[step],
        )
        for n, each in enumerate(own, 1)
        for step in range(8)
    ]
    figure = drawn(find(by_hand.results(*own, *others, against=asked), samples=20))
    assert [len(axes.get_lines()) for axes in figure.axes] == [1 + 6] * 4
    assert figure.get_supxlabel() == (
        "not drawn: 3 groups and 2 counterfactuals, which the tables have"
    )


def test_a_last_row_that_is_no_number_is_unknown_and_not_another(four: list[SweepItem]) -> None:
    broken = by_hand.without_numbers(four[4], 4)
    assert of(found(*four[:4], broken, *four[5:]), "shape").same.n == 1


def test_some_pictures_alone(four: list[SweepItem]) -> None:
    whole = results(*four)
    some = whole.only({whole.digests[0]})
    assert some.items == whole.items[:1]
    assert some.instead["none"].items == whole.instead["none"].items[:1]
    assert some.instead["none"].rows.top_id.shape == (1, 5)


def test_exported_items_are_apart(four: list[SweepItem]) -> None:
    own, instead = [*item_rows(four)], [*replaced_rows(four)]
    assert len(own) == len(instead) == 4 * 5
    assert all("against" not in line for line in own)
    assert {line["against"] for line in instead} == {"none"}
    assert {line["item"] for line in own}.isdisjoint(line["item"] for line in instead)
