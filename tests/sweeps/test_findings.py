"""Findings on trajectories made by hand: each number can be counted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import BadInput
from engine.records import ModelCard, Proof, Token
from engine.sweeps.comparing import compare_sweeps
from engine.sweeps.export import ITEMS, NUMBERS, item_rows, numbers, write_lines
from engine.sweeps.findings import ALL, Findings, entry_layers, find, formation_layers
from engine.sweeps.records import (
    ItemPicture,
    Standing,
    Sweep,
    SweepData,
    SweepItem,
    SweepQuestion,
    SweepRow,
)
from engine.sweeps.report import Section, comparison_section, rows_that_fit, sections
from engine.sweeps.results import Results, as_results
from engine.sweeps.scripts import BYTES, MIXED, NO_LETTERS, OTHER, script_of
from engine.sweeps.words import counted

WORDS = ["cube", "sphere", "cylinder", "C", "кот", "猫", "red", ":"]
"""Tokens by id."""
SPELLINGS = {"cube": (0, 3), "sphere": (1,), "cylinder": (2, 3), "red": (6,)}
"""Token 3, "C", begins two of them."""
PROOF = Proof(0.0, 1e-3, True, "tail")


def row(layer: int, said: int, p: float, answer: int, truth: int | None) -> SweepRow:
    """A row whose top-1 is `said` with `p`; what is left is spread over the others."""
    rest = (1 - p) / (len(WORDS) - 1)
    order = [said, *(token for token in range(len(WORDS)) if token != said)]
    ranks = {token: rank for rank, token in enumerate(order, 1)}

    def standing(token: int) -> Standing:
        return Standing(p if token == said else rest, ranks[token])

    return SweepRow(
        layer=layer,
        top=tuple(Token(t, WORDS[t], p if t == said else rest, 0.0) for t in order[:5]),
        entropy=1.0 - p,
        rms=1.0,
        kl_to_last=float(layer),
        truth=None if truth is None else standing(truth),
        final=standing(answer),
    )


def item(
    number: int,
    said: Sequence[int],
    truth: str | None = None,
    group: str = "shape",
    picture: int | None = None,
    ps: Sequence[float] | None = None,
    bare: Sequence[float] | None = None,
) -> SweepItem:
    """An item whose rows say these tokens."""
    ps = ps if ps is not None else [0.6] * len(said)
    digest = f"{number if picture is None else picture:064x}"
    ids = SPELLINGS.get(truth or "", ())
    first = ids[0] if ids else None

    def rows(shares: Sequence[float], count: int) -> tuple[SweepRow, ...]:
        return tuple(
            row(layer, said[layer], shares[layer], said[-1], first) for layer in range(count)
        )

    return SweepItem(
        item=f"{number:016x}",
        picture=ItemPicture(f"{digest[-4:]}.png", digest),
        prompt=f"{group}?",
        group=group,
        truth=truth,
        spellings=ids,
        rows=rows(ps, len(said)),
        rows_unnormed=None if bare is None else rows(bare, len(said) - 1),
        proof=PROOF,
    )


def results(*items: SweepItem, layers: int = 4) -> Results:
    sweep = Sweep(
        created="x",
        model=ModelCard("m", None, "M", "float32", "cpu"),
        layers=layers,
        question=SweepQuestion(True, None, ""),
        data=SweepData("CLEVR", "d", "0", 1, 1, "the largest"),
        prompts=("shape?",),
    )
    return as_results(sweep, items, "here")


def found(*items: SweepItem, **settings: Any) -> Findings:
    return find(results(*items), samples=200, **settings)


# Formation


@pytest.mark.parametrize(
    ("ranks", "formed", "entered"),
    [
        ([1, 1, 1, 1], 0, 0),
        ([5, 2, 1, 1], 2, 1),
        ([1, 1, 2, 1], 3, 0),
        ([9, 9, 9, 1], 3, 3),
        ([3, 9, 1, 1], 2, 0),
    ],
)
def test_formation_and_entry_by_hand(ranks: list[int], formed: int, entered: int) -> None:
    given_ranks = np.array([ranks])
    assert formation_layers(given_ranks).tolist() == [formed]
    assert entry_layers(given_ranks, 3).tolist() == [entered]


@given(st.lists(st.integers(1, 4), min_size=1, max_size=12))
def test_formation_is_the_first_row_of_the_last_run(ranks: list[int]) -> None:
    ranks = [*ranks, 1]
    layer = int(formation_layers(np.array([ranks]))[0])
    assert all(rank == 1 for rank in ranks[layer:])
    assert layer == 0 or ranks[layer - 1] != 1


def test_a_row_that_is_no_number_has_no_formation() -> None:
    assert math.isnan(formation_layers(np.array([[1, 1, -1]]))[0])


def test_the_order_of_groups_is_tested_on_pictures_that_have_both() -> None:
    items = []
    for picture in range(12):
        early = [7, 0, 0, 0, 0] if picture else [7, 7, 0, 0, 0]
        late = [7, 7, 7, 6, 6]
        items.append(item(2 * picture, early, "cube", "shape", picture))
        items.append(item(2 * picture + 1, late, "red", "colour", picture))
    items.append(item(99, [6, 6, 6, 6, 6], "red", "colour", 50))  # this one has no shape
    shown = found(*items)
    assert [each.group for each in shown.formations] == ["shape", "colour", ALL]
    shape = shown.formations[0]
    assert shape.layer.value == 1 and shape.mean.value == pytest.approx(13 / 12)
    assert shape.distribution.tolist() == pytest.approx([0, 11 / 12, 1 / 12, 0, 0])
    (order,) = shown.orders
    assert (order.first, order.second) == ("shape", "colour")
    assert order.test.difference.value == pytest.approx((11 * 2 + 1) / 12)
    assert order.test.difference.n == 12
    assert order.test.p == pytest.approx(2 / 2**12)  # all have one sign
    assert order.corrected == order.test.p


# Right, ambiguous, lost, confused


def test_what_begins_two_answers_is_ambiguous_and_never_right() -> None:
    items = [
        item(1, [7, 0, 0, 0, 0], "cube"),
        item(2, [7, 0, 0, 0, 3], "cube"),  # "C" could be a cylinder
        item(3, [7, 1, 1, 1, 2], "cylinder"),
        item(4, [7, 0, 1, 1, 0], "sphere"),
    ]
    shown = found(*items)
    accuracy = shown.curve("shape", "accuracy")
    assert accuracy is not None
    assert accuracy.value.tolist() == [0, 0.5, 0.75 - 0.0, 0.75, 0.5]
    (ambiguity,) = shown.ambiguities
    assert ambiguity.share.value == 0.25
    assert ambiguity.tokens == {"C": ("cube", "cylinder")}
    (lost,) = [each for each in shown.lost if each.group == "shape"]
    assert lost.share.value == 0.5 and lost.share.n == 4
    assert lost.items == (f"{2:016x}", f"{4:016x}")
    (confusion,) = shown.confusions
    assert confusion.answers == ("cube", "cylinder", "sphere")
    assert confusion.pairs == (("sphere", "cube", 1),)
    assert confusion.counts[-1].tolist() == [[1, 0, 0, 1], [0, 1, 0, 0], [1, 0, 0, 0]]
    assert confusion.counts[2].sum() == 4


def test_without_truths_nothing_is_right_or_wrong() -> None:
    shown = found(item(1, [7, 0, 0, 0, 0], group="free"), item(2, [7, 1, 1, 1, 1], group="free"))
    assert shown.curve("free", "accuracy") is None
    assert shown.confusions == () and shown.lost == () and shown.ambiguities == ()
    assert shown.formations[0].mean.value == 1
    text = page(sections(shown))
    assert "no truths are known" in text


# Certainty, the last step


def test_peak_and_last_step_by_hand() -> None:
    items = [
        item(n, [0] * 5, "cube", ps=[0.99, 0.5, 0.9, 0.8, 0.7], bare=[0.9, 0.5, 0.6, 0.95])
        for n in range(6)
    ]
    shown = found(*items)
    peaks = {each.normed: each for each in shown.peaks}
    assert (peaks[True].row, peaks[True].low, peaks[True].high) == (2, 2, 2)  # row 0 is none
    assert peaks[False].row == 3
    final, top = shown.drops
    assert (final.of, top.of) == ("final answer", "top-1")
    for drop in (final, top):
        assert drop.normed.value == pytest.approx(0.1)
        assert drop.unnormed.value == pytest.approx(0.25)
        assert drop.share.value == pytest.approx(1 - 0.1 / 0.25)
        assert drop.share.low == pytest.approx(0.6) and drop.defined == 1


def test_where_nothing_drops_without_the_norm_its_share_is_undefined() -> None:
    items = [item(n, [0] * 5, "cube", bare=[0.1, 0.1, 0.1, 0.2]) for n in range(4)]
    shown = found(*items)
    assert all(math.isnan(each.share.value) and each.defined == 0 for each in shown.drops)
    assert "undefined: nothing drops" in page(sections(shown))


def test_a_model_without_a_norm_to_leave_out() -> None:
    shown = found(item(1, [0] * 5, "cube"))
    assert shown.drops == ()
    assert not any(each.normed is False for each in shown.curves)
    assert sections(shown)


# Scripts


@pytest.mark.parametrize(
    ("text", "script"),
    [
        (" cube", "Latin"), ("Würfel", "Latin"), ("кот", "Cyrillic"), ("猫", "Chinese"),
        ("ねこ", "Japanese"), ("食べ", "Japanese"), ("고양이", "Korean"), ("γάτα", "Greek"),
        ("قطة", "Arabic"), ("חתול", "Hebrew"), ("แมว", "Thai"), ("बिल्ली", "Devanagari"),
        (" 12", NO_LETTERS), (":", NO_LETTERS), ("", NO_LETTERS), ("<0x0A>", BYTES),
        (r"\xe7\x8c", BYTES), ("catкот", MIXED), ("ｃａｔ", "Latin"),
        ("ﾈｺ", "Japanese"), ("々", "Chinese"), ("ªº", "Latin"), ("ᏣᎳᎩ", OTHER),
    ],
)  # fmt: skip
def test_scripts(text: str, script: str) -> None:
    assert script_of(text) == script


@given(st.text())
def test_every_text_has_a_script(text: str) -> None:
    assert script_of(text)


def test_scripts_of_the_rows() -> None:
    shown = found(item(1, [7, 4, 5, 0, 0]), item(2, [7, 5, 5, 0, 0]))
    assert {script: curve.value.tolist() for script, curve in shown.scripts.items()} == {
        "Latin": [0, 0, 0, 1, 1],
        "Chinese": [0, 0.5, 1, 0, 0],
        NO_LETTERS: [1, 0, 0, 0, 0],
        "Cyrillic": [0, 0.5, 0, 0, 0],
    }


# Two sets


def test_two_sets_of_the_same_pictures_are_paired() -> None:
    def one_set(shift: float, wrong: int) -> Results:
        return results(
            *(
                item(
                    n, [7, 7, 0, 0, 1 if n < wrong else 0], "cube",
                    ps=[0.5 + shift] * 5, bare=[0.9] * 4,
                )
                for n in range(30)
            )
        )  # fmt: skip

    comparison = compare_sweeps(one_set(0.1, 3), one_set(0.0, 9), 3, samples=300)
    assert comparison.shared_pictures == 30
    by_name = {each.measure: each for each in comparison.differences if each.group == "shape"}
    accuracy = by_name["accuracy in the last row"]
    assert (accuracy.one.value, accuracy.other.value) == pytest.approx((0.9, 0.7))
    assert accuracy.difference.value == pytest.approx(0.2)
    assert accuracy.difference.low > 0
    apart = by_name["top-1 probability in the last row"].difference
    assert apart.value == pytest.approx(0.1)
    assert apart.high - apart.low < 1e-9  # the same in every picture
    text = page([comparison_section(comparison)])
    assert "+20.0%" in text and "30 pictures are in both" in text


def test_two_models_of_other_depths() -> None:
    deep = results(*(item(n, [7, 7, 7, 7, 0, 0, 0, 0, 0], "cube") for n in range(8)), layers=8)
    flat = results(*(item(n + 90, [7, 7, 0], "cube") for n in range(8)), layers=2)
    comparison = compare_sweeps(deep, flat, 3, samples=50)
    by_name = {each.measure: each for each in comparison.differences if each.group == "shape"}
    formed = by_name["formation, share of depth"]
    assert (formed.one.value, formed.other.value) == (0.5, 1.0)
    assert comparison.shared_pictures == 0


# As a report, as numbers


def page(shown: Sequence[Section]) -> str:
    cells = [
        cell
        for section in shown
        for part in (
            (section.title, section.words),
            *(row for table in section.tables for row in (table.heads, *table.rows)),
            section.notes,
        )
        for cell in part
    ]
    return "\n".join(map(str, cells))


@pytest.mark.parametrize("width", [20, 80, 120, 400])
def test_every_table_is_a_rectangle(width: int) -> None:
    items = [item(n, [7, 0, 0, 0, n % 3], "cube", bare=[0.9] * 4) for n in range(6)]
    for section in sections(found(*items), rows_that_fit(width)):
        for table in section.tables:
            assert {len(cells) for cells in table.rows} == {len(table.heads)}


def test_every_number_is_a_line(tmp_path: Path) -> None:
    import csv

    from pyarrow import parquet

    items = [item(n, [7, 0, 0, 0, n % 3], "cube", bare=[0.9] * 4) for n in range(6)]
    shown = found(*items)
    lines = list(numbers(shown, compare_sweeps(shown.results, shown.results, 3, samples=20)))
    kinds = {line["finding"] for line in lines}
    assert kinds == {
        "curve", "formation", "peak", "last step", "norm's share", "confusion", "lost",
        "ambiguous", "script", "comparison",
    }  # fmt: skip
    for kind in ("csv", "parquet"):
        write_lines(iter(lines), NUMBERS, tmp_path / f"numbers.{kind}")
        write_lines(item_rows(items), ITEMS, tmp_path / f"items.{kind}")
    with (tmp_path / "numbers.csv").open(newline="") as stream:
        assert len(list(csv.DictReader(stream))) == len(lines)
    assert parquet.read_table(tmp_path / "numbers.parquet").num_rows == len(lines)
    table = parquet.read_table(tmp_path / "items.parquet").to_pylist()
    assert len(table) == 6 * 9
    assert table[1]["text_1"] == "cube" and table[1]["normed"] is True


def test_items_without_all_rows_are_refused() -> None:
    with pytest.raises(BadInput, match="does not have the rows 0 to 4"):
        results(item(1, [0, 0, 0]))
    with pytest.raises(BadInput, match="no results yet"):
        results()


@pytest.mark.parametrize(
    ("number", "words"), [(0, "0 pictures"), (1, "1 picture"), (1200, "1,200 pictures")]
)
def test_one_is_one(number: int, words: str) -> None:
    assert counted(number, "picture") == words


# Very many groups, and very long names


def test_of_very_many_groups_the_largest_have_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.sweeps.results.MOST_GROUPS", 2)
    each = [item(n, [7, 0, 0, 0, 0], "cube", group) for n, group in enumerate("abbccc")]
    findings = found(*each)
    assert findings.results.groups == ("b", "c") and findings.results.groups_left_out == 1
    assert {curve.group for curve in findings.curves} == {"b", "c", ALL}
    accuracy = findings.curve(ALL, "accuracy", True)
    assert accuracy is not None and accuracy.n.tolist() == [6] * 5
    first, *_ = sections(findings)
    assert "The 2 largest groups have lines of their own; 1 more" in first.notes[-1]


def test_long_names_are_cut_and_stay_different() -> None:
    names = ["g" * 5000, "g" * 5000 + "h", "g\0", "g"]
    each = [item(n, [7, 0, 0, 0, 0], "cube", group) for n, group in enumerate(names)]
    shown = results(*each)
    assert len(set(shown.groups)) == 4 and max(map(len, shown.groups)) <= 300
    assert [int(shown.in_group(group).sum()) for group in shown.groups] == [1] * 4
