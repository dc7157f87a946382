"""Findings on trajectories made by hand: each number can be counted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from engine.errors import BadInput
from engine.records import Counterfactual, ModelCard, Proof, Token
from engine.sweeps.comparing import compare_sweeps
from engine.sweeps.export import ITEMS, NUMBERS, item_rows, numbers, write_lines
from engine.sweeps.findings import (
    ALL,
    Findings,
    Measure,
    entry_layers,
    find,
    formation_layers,
    peaks_of,
    share_of_norm,
)
from engine.sweeps.records import (
    ItemPicture,
    Standing,
    Sweep,
    SweepData,
    SweepItem,
    SweepQuestion,
    SweepRow,
)
from engine.sweeps.report import comparison_section, rows_that_fit, sections
from engine.sweeps.results import Results, as_results, read_results
from engine.sweeps.scripts import BYTES, MIXED, NO_LETTERS, OTHER, script_of
from engine.sweeps.section import Section
from engine.sweeps.statistics import sign_flip_test
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


def results(
    *items: SweepItem, layers: int = 4, against: tuple[Counterfactual, ...] = ()
) -> Results:
    sweep = Sweep(
        created="x",
        model=ModelCard("m", None, "M", "float32", "cpu"),
        layers=layers,
        question=SweepQuestion(True, None, ""),
        data=SweepData("CLEVR", "d", "0", 1, 1, "the largest"),
        prompts=("shape?",),
        against=against,
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


# Every number of the items, where it belongs


def numbered(number: int, group: str, said: Sequence[int], bare: bool = True) -> SweepItem:
    """An item of whose numbers no two are alike."""

    def one(layer: int, normed: bool) -> SweepRow:
        base = 100.0 * number + 10.0 * layer + (0.0 if normed else 5.0)
        return SweepRow(
            layer=layer,
            top=(Token(said[layer], WORDS[said[layer]], base + 0.1, 0.0), Token(7, ":", 0.0, 0.0)),
            entropy=base + 0.2,
            rms=base + 0.3,
            kl_to_last=base + 0.4,
            truth=Standing(base + 0.5, 1000 + int(base)),
            final=Standing(base + 0.6, 2000 + int(base)),
        )

    made = item(number, said, "cube", group)
    return structs.replace(
        made,
        rows=tuple(one(layer, True) for layer in range(5)),
        rows_unnormed=tuple(one(layer, False) for layer in range(4)) if bare else None,
    )


def test_every_number_of_an_item_is_where_it_belongs() -> None:
    read = results(numbered(1, "a", [0, 1, 2, 3, 4]), numbered(2, "b", [5, 6, 7, 0, 1], bare=False))
    base = np.array([100.0 + 10 * np.arange(5), 200.0 + 10 * np.arange(5)])
    unnormed = base + np.array([5.0, 5.0, 5.0, 5.0, 0.0])  # the last row is the model's own
    unnormed[1] = np.nan
    assert read.unnormed is not None
    for rows, wanted in ((read.rows, base), (read.unnormed, unnormed)):
        known = ~np.isnan(wanted[:, 0])
        for name, shift in (
            ("top_probability", 0.1), ("entropy", 0.2), ("kl_to_last", 0.4),
            ("truth_probability", 0.5), ("final_probability", 0.6),
        ):  # fmt: skip
            assert np.allclose(getattr(rows, name), wanted + shift, equal_nan=True)
        assert (rows.truth_rank[known] == 1000 + wanted[known]).all()
        assert (rows.final_rank[known] == 2000 + wanted[known]).all()
        assert rows.top_id[0].tolist() == [0, 1, 2, 3, 4]
        for none in (rows.top_id, rows.truth_rank, rows.final_rank):
            assert none.dtype == np.int64 and (none[~known] == -1).all()
    assert np.allclose(read.rms, base + 0.3)
    assert read.items == (f"{1:016x}", f"{2:016x}")
    assert (read.group, read.groups, read.truth) == (("a", "b"), ("a", "b"), ("cube", "cube"))
    assert read.prompts == ("a?", "b?") and read.pictures == ("0001.png", "0002.png")
    assert read.texts == dict(enumerate(WORDS))


def test_every_curve_is_of_its_measure_group_and_rows() -> None:
    items = [numbered(1, "a", [0] * 5), numbered(2, "b", [0] * 5), numbered(4, "b", [1] * 5)]
    shown = found(*items)
    shifts: dict[Measure, float] = {
        "top-1 probability": 0.1, "entropy": 0.2, "KL to last": 0.4,
        "truth probability": 0.5, "final answer probability": 0.6,
    }  # fmt: skip
    groups = {"a": (100.0, 1), "b": (300.0, 2), ALL: (700.0 / 3, 3)}
    for measure, shift in shifts.items():
        for group, (base, count) in groups.items():
            curve = shown.curve(group, measure)
            bare = shown.curve(group, measure, normed=False)
            assert curve is not None and bare is not None
            wanted = base + 10 * np.arange(5) + shift
            assert curve.value == pytest.approx(wanted)
            assert bare.value == pytest.approx(wanted + np.array([5, 5, 5, 5, 0]))
            assert curve.n.tolist() == bare.n.tolist() == [count] * 5
            if count == 1:  # of one picture every sample is the same
                assert curve.low == pytest.approx(wanted)
                assert curve.high == pytest.approx(wanted)
    accuracy = shown.curve("b", "accuracy")
    assert accuracy is not None and accuracy.value.tolist() == [0.5] * 5
    assert (accuracy.low.tolist(), accuracy.high.tolist()) == ([0.0] * 5, [1.0] * 5)
    assert shown.curve("c", "entropy") is None
    assert len(shown.curves) == 2 * 3 * 6


def test_pictures_of_equal_content_are_one_and_sorted() -> None:
    items = [item(1, [0] * 5, "cube", picture=9), item(2, [0] * 5, "cube", picture=3),
             item(3, [0] * 5, "cube", picture=9)]  # fmt: skip
    read = results(*items)
    assert read.picture.tolist() == [1, 0, 1]
    assert read.digests == (f"{3:064x}", f"{9:064x}")
    assert read.layers == 4


def test_questions_without_a_picture_are_of_one_cluster() -> None:
    items = [structs.replace(item(n, [0] * 5, "cube"), picture=None) for n in (1, 2)]
    read = results(*items, item(3, [0] * 5, "cube"))
    assert read.pictures == ("", "", "0003.png")
    assert read.digests == ("", f"{3:064x}") and read.picture.tolist() == [0, 0, 1]


def test_results_are_read_from_their_folder(tmp_path: Path) -> None:
    items = [item(n, [0] * 5, "cube") for n in (1, 2)]
    written = results(*items).sweep
    (tmp_path / "sweep.json").write_bytes(msgspec.json.encode(written))
    with pytest.raises(BadInput, match=f"^{tmp_path}: no results yet"):
        read_results(tmp_path)
    for shard, one in enumerate(items):
        line = msgspec.json.encode(one) + b"\n"
        (tmp_path / f"items-{shard:05}-of-00002.jsonl").write_bytes(line)
    read = read_results(str(tmp_path))
    assert read.sweep == written and read.items == (f"{1:016x}", f"{2:016x}")


def test_only_the_items_of_some_pictures() -> None:
    items = [
        numbered(number, group, [said] * 5)
        for number, group, said in ((1, "a", 0), (2, "b", 1), (3, "b", 2), (4, "a", 3))
    ]
    read = results(*items)
    chosen = {f"{2:064x}", f"{3:064x}"}
    kept, alone = read.only(chosen), results(items[1], items[2])
    assert kept.items == alone.items and kept.digests == alone.digests
    assert kept.picture.tolist() == alone.picture.tolist() == [0, 1]
    for name in ("pictures", "prompts", "group", "truth"):
        assert getattr(kept, name) == getattr(alone, name)
    assert np.array_equal(kept.rms, alone.rms)
    assert kept.unnormed is not None and alone.unnormed is not None
    for one, other in ((kept.rows, alone.rows), (kept.unnormed, alone.unnormed)):
        assert np.array_equal(one.top_id, other.top_id)
        assert np.array_equal(one.truth_rank, other.truth_rank)
        assert np.array_equal(one.entropy, other.entropy)
    assert kept.in_group("a").tolist() == [False, False]
    assert kept.in_group("b").tolist() == [True, True]
    assert results(item(1, [0] * 5)).only({f"{1:064x}"}).unnormed is None


def test_rows_that_are_no_numbers_are_unknown_and_not_wrong() -> None:
    whole = item(1, [0] * 5, "cube")
    torn = without_numbers(item(2, [0, 3, 0, 0, 0], "cube", bare=[0.9] * 4), 2)
    read = results(whole, torn)
    assert read.rows.top_id[1].tolist() == [0, 3, -1, 0, 0]
    assert read.rows.truth_rank[1, 2] == read.rows.final_rank[1, 2] == -1
    for values in (read.rows.top_probability, read.rows.entropy, read.rows.kl_to_last,
                   read.rows.truth_probability, read.rows.final_probability, read.rms):  # fmt: skip
        assert np.isnan(values).tolist() == [[False] * 5, [False, False, True, False, False]]
    right = read.right(read.rows)
    assert right[0].tolist() == [1] * 5
    assert right[1, [0, 1, 3, 4]].tolist() == [1] * 4 and np.isnan(right[1, 2])
    three = results(whole, torn, item(3, [3] * 5, "cylinder"))  # "C" is ambiguous now
    for values, in_row_1 in ((three.right(three.rows), 0), (three.ambiguous(three.rows), 1)):
        assert np.isnan(values).sum() == 1 and np.isnan(values[1, 2])
        assert (values[1, 1], values[2, 1]) == (in_row_1, in_row_1)
        assert values[0].tolist() == [1 - in_row_1] * 5
    shown = find(read, samples=50)
    curve = shown.curve("shape", "accuracy")
    assert curve is not None and curve.n.tolist() == [2, 2, 1, 2, 2]
    assert shown.scripts["Latin"].n.tolist() == [2, 2, 1, 2, 2]
    assert shown.scripts["Latin"].value.tolist() == [1.0] * 5
    assert (shown.lost[0].share.value, shown.lost[0].share.n) == (0.0, 2)


def test_answers_of_several_tokens_are_named_in_their_group() -> None:
    items = [
        structs.replace(item(1, [0] * 5, "cylinder"), several_tokens=True),
        structs.replace(item(2, [0] * 5, "cube"), several_tokens=True),
        item(3, [0] * 5, "sphere"),
        item(4, [6] * 5, "red", "colour"),
    ]
    read = results(*items)
    assert read.answers["shape"].several_tokens == ("cube", "cylinder")
    assert read.answers["colour"].several_tokens == ()
    shape = read.answers["shape"]
    assert shape.ids == {"cube": {0, 3}, "sphere": {1}, "cylinder": {2, 3}}
    assert {token: set(names) for token, names in shape.shared.items()} == {3: {"cube", "cylinder"}}
    assert shape.of_token == {0: "cube", 1: "sphere", 2: "cylinder"}
    by_group = {each.group: each for each in find(read, samples=20).ambiguities}
    assert by_group["shape"].several_tokens == ("cube", "cylinder")
    # No row says token 3: its text is not known.
    assert set(by_group["shape"].tokens) == {"#3"}
    assert by_group["colour"].tokens == {}


def test_spellings_of_one_answer_in_several_items_are_all_its_own() -> None:
    items = [
        structs.replace(item(1, [0] * 5, "cube"), spellings=(0,)),
        structs.replace(item(2, [4] * 5, "cube"), spellings=(4,)),
    ]
    read = results(*items)
    assert read.right(read.rows).tolist() == [[1.0] * 5] * 2


def test_rows_that_are_missing_without_the_norm_are_refused() -> None:
    whole = item(1, [0] * 5, "cube", bare=[0.9] * 4)
    assert whole.rows_unnormed is not None
    for rows in (
        whole.rows_unnormed[:3],
        whole.rows_unnormed[::-1],
        (*whole.rows_unnormed[:3], whole.rows[4]),
    ):
        with pytest.raises(BadInput, match="here: item 0000000000000001 does not have"):
            results(structs.replace(whole, rows_unnormed=rows))


# Orders, peaks and drops, worked by hand


def test_of_three_groups_every_pair_is_compared_and_corrected() -> None:
    items = []
    for picture in range(8):
        for place, (group, formed) in enumerate((("late", 4), ("early", 1), ("middle", 2))):
            said = [7] * formed + [0] * (5 - formed)
            items.append(item(10 * picture + place, said, "cube", group, picture))
    items += [item(900 + n, [7, 7, 0, 0, 0], "cube", "alone", 900 + n) for n in range(3)]
    shown = found(*items)
    assert [each.group for each in shown.formations] == ["early", "middle", "alone", "late", ALL]
    pairs = {(each.first, each.second): each for each in shown.orders}
    assert set(pairs) == {("early", "late"), ("middle", "late"), ("early", "middle")}
    for (first, second), order in pairs.items():
        rows = {"early": 1, "middle": 2, "late": 4}
        apart = rows[second] - rows[first]
        interval = order.test.difference
        assert tuple(interval) == (apart, apart, apart, 8)
        assert order.test.p == pytest.approx(2 / 2**8)
        assert order.corrected == pytest.approx(3 * 2 / 2**8)
    by_group = {each.group: each for each in shown.formations}
    late = by_group["late"]
    assert (late.layer[:3], late.mean[:3], late.entry.n) == ((4, 4, 4), (4, 4, 4), 8)
    assert by_group[ALL].distribution.tolist() == pytest.approx([0, 8 / 27, 11 / 27, 0, 8 / 27])


def test_the_groups_with_most_items_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.sweeps.findings.MOST_ORDERED", 2)
    items = []
    for picture in range(4):
        for place, group in enumerate(("rare", "common", "usual")):
            if picture or place:
                said = [7, *[0] * 4] if group == "usual" else [0] * 5
                items.append(item(10 * picture + place, said, "cube", group, picture))
    (order,) = found(*items).orders
    assert (order.first, order.second) == ("common", "usual")


def test_an_order_is_tested_with_as_many_patterns_as_there_is_time_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    items, apart = [], []
    for picture in range(20):
        early, late = picture % 3, 1 + picture % 2
        for place, formed in enumerate((early, late)):
            said = [7] * formed + [0] * (5 - formed)
            items.append(item(2 * picture + place, said, "cube", f"group {place}", picture))
        apart.append(float(late - early))
    assert 0 < np.mean(apart) < 1
    for most, flips in ((20 * 1100 + 19, 1100), (20, 1000), (10**9, 10_000)):
        monkeypatch.setattr("engine.sweeps.findings.MOST_FLIPS", most)
        for seed in (0, 5):
            (order,) = found(*items, seed=seed).orders
            assert (order.first, order.second) == ("group 0", "group 1")
            assert order.test.p == sign_flip_test(apart, flips, seed)
            assert order.test.difference.value == pytest.approx(np.mean(apart))


def test_the_seed_decides_the_intervals() -> None:
    items = [item(n, [0] * 5, "cube", ps=[0.1 + 0.03 * n] * 5) for n in range(12)]
    one, same, other = (found(*items, seed=seed).peaks[0].probability for seed in (3, 3, 4))
    assert one == same != other and one.value == other.value


def test_entry_is_the_first_row_among_the_top_k() -> None:
    shown = [
        find(results(item(1, [7, 6, 0, 0, 0], "cube")), top_k=k, samples=20) for k in (1, 2, 3)
    ]
    # Token 0 comes second where another is said.
    assert [each.formations[0].entry.value for each in shown] == [2, 0, 0]
    assert entry_layers(np.array([[-1, 4, 3], [9, 9, 9], [3, 1, 1]]), 3)[[0, 2]].tolist() == [2, 0]
    assert np.isnan(entry_layers(np.array([[9, -1, 4]]), 3)).all()


def test_peaks_of_samples() -> None:
    nan = math.nan
    means = np.array([[0.1, 0.9, 0.3], [nan, 0.1, 0.2], [nan, nan, nan], [0.5, nan, 0.5]])
    peaks = peaks_of(means)
    assert peaks[[0, 1, 3]].tolist() == [1, 2, 0] and np.isnan(peaks[2])


def test_a_peak_has_the_numbers_of_its_row() -> None:
    items = [
        item(1, [0] * 5, "cube", ps=[0.99, 0.2, 0.3, 0.9, 0.4]),
        item(2, [0] * 5, "cube", ps=[0.99, 0.2, 0.8, 0.4, 0.3]),
    ]
    (peak,) = found(*items).peaks
    assert (peak.group, peak.row, peak.low, peak.high) == ("shape", 3, 2, 3)
    assert tuple(peak.probability) == pytest.approx((0.65, 0.4, 0.9, 2))


def test_the_share_of_the_norm() -> None:
    nan = math.nan
    samples = np.array([[0.1, 0.4], [0.2, 0.4], [0.1, 0.0], [0.1, -0.2], [nan, nan]])
    share, defined = share_of_norm(0.1, 0.25, samples)
    assert share.value == pytest.approx(0.6) and defined == 0.4
    assert (share.low, share.high) == pytest.approx(tuple(np.quantile([0.5, 0.75], [0.025, 0.975])))
    for unnormed in (0.0, -0.1, nan):
        share, defined = share_of_norm(0.1, unnormed, samples)
        assert np.isnan(share[:3]).all() and defined == 0.4
    assert np.isnan(share_of_norm(0.1, 0.2, samples[2:])[0].value)


def without_numbers(made: SweepItem, *layers: int) -> SweepItem:
    """The item with rows whose logits were not numbers."""
    none = dict.fromkeys(("entropy", "rms", "kl_to_last", "truth", "final"))
    rows = tuple(
        structs.replace(row, top=(), **none) if row.layer in layers else row for row in made.rows
    )
    return structs.replace(made, rows=rows)


def test_drops_are_of_the_answer_of_the_top_and_of_the_same_items() -> None:
    """The second item says another token before the last row: its answer rises to it."""
    said = [0, 0, 0, 1, 0]
    items = [
        item(1, [0] * 5, "cube", ps=[0.5, 0.5, 0.5, 0.9, 0.6], bare=[0.5, 0.5, 0.5, 0.8]),
        item(2, said, "cube", ps=[0.5, 0.5, 0.5, 0.3, 0.5], bare=[0.5, 0.5, 0.5, 0.65]),
        item(3, [0] * 5, "cube", ps=[0.5, 0.5, 0.5, 0.7, 0.1]),  # none without the norm
        without_numbers(item(4, [0] * 5, "cube", bare=[0.5, 0.5, 0.5, 0.99]), 3),
        item(5, [0] * 5, "red", "colour", ps=[0.5, 0.5, 0.5, 0.5, 0.3], bare=[0.4] * 4),
    ]
    drops = {(each.group, each.of): each for each in found(*items).drops}
    assert len(drops) == 3 * 2
    final, top = drops["shape", "final answer"], drops["shape", "top-1"]
    assert top.normed.value == pytest.approx((0.3 - 0.2) / 2)
    assert top.unnormed.value == pytest.approx((0.2 + 0.15) / 2)
    assert final.normed.value == pytest.approx((0.3 + 0.1 - 0.5) / 2)
    assert final.unnormed.value == pytest.approx((0.2 + 0.05 - 0.5) / 2)
    for drop in (final, top):
        assert (drop.normed.n, drop.unnormed.n, drop.share.n) == (2, 2, 2)
    assert top.share.value == pytest.approx(1 - 0.05 / 0.175)
    assert np.isnan(final.share.value)
    colour = drops["colour", "top-1"]
    assert colour.normed.value == pytest.approx(0.2) and colour.normed.n == 1
    assert colour.share[:3] == pytest.approx((1 - 0.2 / 0.1,) * 3)
    assert drops[ALL, "top-1"].unnormed.value == pytest.approx((0.35 + 0.1) / 3)


def test_a_model_of_one_layer_has_a_last_step() -> None:
    one = item(1, [0, 0], "cube", ps=[0.9, 0.6], bare=[0.8])
    shown = find(results(one, layers=1), samples=20)
    assert shown.drops[0].share.value == pytest.approx(1 - 0.3 / 0.2)
    (normed, bare) = shown.peaks
    assert (normed.row, bare.row) == (1, 1)


def test_a_group_without_numbers_does_not_hide_the_others() -> None:
    nothing = without_numbers(item(1, [0] * 5, "cube", "broken"), *range(5))
    shown = found(nothing, item(2, [0] * 5, "cube"))
    assert [each.group for each in shown.peaks] == ["shape", ALL]
    assert shown.curve("broken", "accuracy") is None


def test_an_unknown_row_before_the_last_leaves_an_item_known() -> None:
    lost = found(without_numbers(item(1, [1, 0, 1, 0, 1], "cube"), 3)).lost[0]
    assert (lost.share.value, lost.share.n) == (1.0, 1)
    assert found(without_numbers(item(1, [0] * 5, "cube"), 4)).lost == ()


def test_confusions_are_counted_in_every_row(monkeypatch: pytest.MonkeyPatch) -> None:
    items = [
        item(5, [0] * 5, None),
        item(1, [7, 1, 0, 0, 1], "cube"),
        item(2, [7, 1, 0, 0, 1], "cube"),
        item(3, [7, 0, 1, 1, 0], "sphere"),
        item(4, [7, 0, 2, 2, 2], "cylinder"),
        item(6, [6, 6, 0, 6, 6], "red", "colour"),
    ]
    by_group = {each.group: each for each in found(*items).confusions}
    shape = by_group["shape"]
    assert shape.answers == ("cube", "cylinder", "sphere")
    assert shape.pairs == (("cube", "sphere", 2), ("sphere", "cube", 1))
    assert shape.counts.shape == (5, 3, 4)
    assert shape.counts[0].tolist() == [[0, 0, 0, 2], [0, 0, 0, 1], [0, 0, 0, 1]]
    assert shape.counts[1].tolist() == [[0, 0, 2, 0], [1, 0, 0, 0], [1, 0, 0, 0]]
    assert shape.counts[4].tolist() == [[0, 0, 2, 0], [0, 1, 0, 0], [1, 0, 0, 0]]
    assert by_group["colour"].counts[:, 0].tolist() == [[1, 0], [1, 0], [0, 1], [1, 0], [1, 0]]
    monkeypatch.setattr("engine.sweeps.findings.MOST_ANSWERS", 1)
    (cut, _) = found(*items).confusions
    assert cut.answers == ("cube",) and cut.pairs == shape.pairs
    assert cut.counts[4].tolist() == [[0, 2]] and cut.counts[2].tolist() == [[2, 0]]


def test_lost_is_right_between_the_first_row_and_the_last() -> None:
    items = [
        item(1, [0, 1, 1, 1, 1], "cube"),  # only in row 0, which repeats the current token
        item(2, [1, 0, 1, 1, 1], "cube"),
        item(3, [1, 1, 1, 0, 1], "cube"),
        item(4, [1, 1, 1, 1, 1], "cube"),
        item(5, [1, 0, 0, 0, 0], "cube"),
        item(6, [1, 1, 1, 1, 1], "sphere", "other"),
        item(7, [1, 1, 1, 1, 1], group="free"),
    ]
    lost = {each.group: each for each in found(*items).lost}
    assert set(lost) == {"shape", "other", ALL}
    assert lost["shape"].items == (f"{2:016x}", f"{3:016x}")
    assert (lost["shape"].share.value, lost["shape"].share.n) == (0.4, 5)
    assert (lost["other"].share.value, lost["other"].items) == (0.0, ())
    assert lost[ALL].share.value == pytest.approx(2 / 6) and lost[ALL].share.n == 6


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
    assert next(iter(shown.scripts)) == "Latin"  # the most common
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
