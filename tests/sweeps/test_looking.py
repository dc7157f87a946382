"""Where the heads look, from shares made by hand."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from msgspec import structs

from engine.counterfactuals.grammar import parse_against
from engine.errors import BadInput
from engine.records import Counterfactual, ReadingProof
from engine.sweeps.export import attention_rows, numbers
from engine.sweeps.figures import draw
from engine.sweeps.findings import Findings, find
from engine.sweeps.looking import EVERYTHING, PICTURE, RIGHT, SPECIAL, TEXT, WRONG, Looking, Unread
from engine.sweeps.records import AttentionShares, LayerShares, SweepItem
from engine.sweeps.reopening import open_item
from engine.sweeps.report import sections
from engine.sweeps.results import read_results
from engine.sweeps.store import SWEEP, read_items
from tests.sweeps import test_findings as by_hand

GROUPS = ("first", "template", "picture", "question")


def layer(number: int, *shares: float, on_sinks: tuple[float, ...] = (0.0,) * 4) -> LayerShares:
    """A layer of one head that looks so at first, template, picture, question and nowhere."""
    kept = [share - sink for share, sink in zip(shares, on_sinks, strict=False)]
    total = sum(kept)
    return LayerShares(
        layer=number,
        shares=shares,
        on_sinks=on_sinks,
        without_sinks=tuple(each / total if total else None for each in kept),
    )


def shares(*layers: LayerShares, sinks: int = 1, error: float = 0.5) -> AttentionShares:
    return AttentionShares(GROUPS, layers, sinks, ReadingProof("p V", error, 1.0, True))


EARLY = (
    layer(0, 0.5, 0.1, 0.2, 0.2, 0.0, on_sinks=(0.5, 0.0, 0.0, 0.0)),
    layer(1, 0.4, 0.0, 0.4, 0.1, 0.1, on_sinks=(0.4, 0.0, 0.3, 0.0)),
    LayerShares(layer=2, reason="no attention here"),
    layer(3, 0.0, 0.0, 0.0, 0.0, 1.0),
)
LATE = (
    layer(0, 0.3, 0.1, 0.4, 0.2, 0.0, on_sinks=(0.3, 0.0, 0.0, 0.0)),
    layer(1, 1.0, 0.0, 0.0, 0.0, 0.0, on_sinks=(1.0, 0.0, 0.0, 0.0)),
    LayerShares(layer=2, reason="no attention here"),
    structs.replace(layer(3, 0.0, 0.0, 1.0, 0.0, 0.0), keys="states"),
)


@pytest.fixture
def items() -> list[SweepItem]:
    """A right and a wrong answer, and the right one without its picture."""
    right = by_hand.item(1, [7, 0, 1, 1, 1], "sphere")
    wrong = by_hand.item(2, [7, 1, 0, 0, 6], "sphere")
    without = structs.replace(
        by_hand.item(3, [7] * 5, "sphere", picture=1),
        against="none",
        counterfactual=Counterfactual("none"),
        readings=(shares(layer(0, 0.6, 0.4, 0.0, 0.0, 0.0), sinks=0, error=0.25),),
    )
    return [
        structs.replace(right, readings=(shares(*EARLY),)),
        structs.replace(wrong, readings=(shares(*LATE, sinks=2, error=0.75),)),
        without,
    ]


def found(*items: SweepItem) -> Findings:
    return find(by_hand.results(*items, against=parse_against("none")), samples=100)


def of(findings: Findings, which: str) -> Looking:
    assert findings.looks is not None
    (each,) = [each for each in findings.looks.of if each.which == which]
    return each


def test_every_share_can_be_counted(items: list[SweepItem]) -> None:
    findings = found(*items)
    assert findings.looks is not None
    assert [each.which for each in findings.looks.of] == [EVERYTHING, RIGHT, WRONG, "none"]
    right, wrong, everything = (of(findings, name) for name in (RIGHT, WRONG, EVERYTHING))
    nan = math.nan
    for curve, wanted in (
        (right.raw[TEXT], [0.3, 0.1, nan, 0.0]),
        (right.raw[PICTURE], [0.2, 0.1, nan, 0.0]),
        (right.raw[SPECIAL], [0.5, 0.8, nan, 1.0]),
        (right.without_sinks[TEXT], [0.6, 0.5, nan, nan]),
        (right.without_sinks[PICTURE], [0.4, 0.5, nan, nan]),
        (right.without_sinks[SPECIAL], [0.0, 0.0, nan, nan]),
        (wrong.raw[PICTURE], [0.4, 0.0, nan, nan]),
        (wrong.without_sinks[PICTURE], [4 / 7, nan, nan, nan]),
        (everything.raw[PICTURE], [0.3, 0.05, nan, 0.0]),
        (everything.groups["picture"], [0.3, 0.2, nan, 0.0]),
        (everything.groups["nowhere"], [0.0, 0.05, nan, 1.0]),
        (of(findings, "none").raw[SPECIAL], [0.6, nan, nan, nan]),
    ):
        np.testing.assert_allclose(curve.value, wanted, atol=1e-12)
    assert everything.raw[PICTURE].n.tolist() == [2, 2, 0, 1]
    assert (everything.sinks.value, everything.worst, right.worst) == (1.5, 0.75, 0.5)
    assert findings.looks.unread == {2: Unread(3, 3, "no attention here")}
    assert findings.looks.layers == (0, 1, 2, 3)
    on_states = findings.looks.on_states
    assert on_states is not None and (on_states.layers, on_states.unread) == ((3,), {})
    assert [each.which for each in on_states.of] == [EVERYTHING, RIGHT, WRONG]
    pictures = np.array([each.raw[PICTURE].value for each in on_states.of])
    assert np.isnan(pictures[:, :3]).all()
    np.testing.assert_allclose(pictures[:, 3], [1.0, nan, 1.0])
    for each in findings.looks.of:
        for side in (each.raw, each.without_sinks):
            total = np.sum([curve.value for curve in side.values()], axis=0)
            assert np.allclose(total[~np.isnan(total)], 1.0)


def test_without_attention_there_is_no_such_finding() -> None:
    plain = found(by_hand.item(1, [0] * 5, "cube"))
    assert plain.looks is None and plain.results.attention is None
    assert not any(section.title.startswith("Where it looks") for section in sections(plain))
    assert not any(str(line["finding"]).startswith("attention") for line in numbers(plain))


def test_some_items_without_attention_do_not_count(items: list[SweepItem]) -> None:
    findings = found(*items, by_hand.item(5, [0] * 5, "cube"))
    assert of(findings, EVERYTHING).raw[PICTURE].n.tolist() == [2, 2, 0, 1]
    some = findings.results.only({findings.results.digests[0]})
    assert some.attention is not None and some.attention.shares.shape == (1, 4, 5)


def notes_of(*lines: SweepItem) -> str:
    (each,) = [one for one in sections(found(*lines)) if one.title.startswith("Where it looks")]
    return "\n".join(each.notes)


def test_what_layers_look_at_besides_tokens_is_not_silently_missing() -> None:
    """An encoder-decoder: the picture is among the encoder's states, never among the tokens."""
    both = [
        made
        for number in range(4)
        for made in (
            layer(number, 0.5, 0.0, 0.0, 0.5, 0.0),
            structs.replace(layer(number, 0.0, 0.0, 1.0, 0.0, 0.0), keys="states"),
        )
    ]
    own = structs.replace(by_hand.item(1, [0] * 5), readings=(shares(*both),))
    notes = notes_of(own)
    assert "over the layers that look at tokens 0.0% on the picture" in notes
    assert (
        "over the layers that look at states of an encoder or of a vision tower "
        "(layers 0, 1, 2, 3) 100.0% on the picture"
    ) in notes
    plain = shares(*(layer(number, 0.5, 0.0, 0.5, 0.0, 0.0) for number in range(4)))
    notes = notes_of(structs.replace(own, readings=(plain,)))
    assert "over all layers 50.0% on the picture" in notes and "states" not in notes


def test_a_layer_that_could_be_read_of_few_items_says_so() -> None:
    whole = [layer(number, 0.5, 0.0, 0.5, 0.0, 0.0) for number in range(4)]
    torn = [*whole[:1], LayerShares(layer=1, reason="not proved"), *whole[2:]]
    lines = [
        structs.replace(by_hand.item(n, [0] * 5), readings=(shares(*(torn if n > 1 else whole)),))
        for n in range(1, 6)
    ]
    assert "layer 1, in 4 of 5 lines: not proved" in notes_of(*lines)
    (each,) = [one for one in sections(found(*lines)) if one.title.startswith("Where it looks")]
    assert {row[-1] for table in each.tables for row in table.rows} == {"1"}
    nothing = [*whole[:1], LayerShares(layer=1, reason="none here"), *whole[2:]]
    lines = [structs.replace(line, readings=(shares(*nothing),)) for line in lines]
    (each,) = [one for one in sections(found(*lines)) if one.title.startswith("Where it looks")]
    assert {row[-1] for table in each.tables for row in table.rows} == {"5"}
    assert "layer 1: none here" in each.notes


def test_it_is_shown_drawn_and_exported(items: list[SweepItem], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    findings = found(*items)
    (section,) = [each for each in sections(findings) if each.title.startswith("Where it looks")]
    raw, without, on_states = section.tables
    assert [row[:2] for row in raw.rows[:3]] == [
        (EVERYTHING, kind) for kind in (TEXT, PICTURE, SPECIAL)
    ]
    assert len(raw.rows) == len(without.rows) == 12 and len(on_states.rows) == 9
    text = "\n".join(section.notes)
    assert "layer 2: no attention here" in text and "worst proof 0.75" in text
    assert "11.7% on the picture" in text  # (30 + 5 + 0) / 3
    assert "looks" in draw(findings, tmp_path) and (tmp_path / "looks.svg").stat().st_size > 1000
    lines = [line for line in numbers(findings) if str(line["finding"]).startswith("attention")]
    curves = 4 * ((3 + 5) + (3 + 4))  # of each: raw and without sinks, kinds and groups
    on_states_curves = 3 * ((3 + 5) + (3 + 4))
    assert len(lines) == (curves + on_states_curves) * 4 + 4 * 2
    assert all(line["row"] is None for line in lines)  # layer l is not row l
    assert [line["layer"] for line in lines[:5]] == [0, 1, 2, 3, 0]
    assert {line["layer"] for line in numbers(findings) if line["row"] is not None} == {None}
    exported = [*attention_rows(items)]
    assert len(exported) == 9 * 5
    picture = next(line for line in exported if line["layer"] == 1 and line["tokens"] == "picture")
    assert (picture["share"], picture["on_sinks"]) == (0.4, 0.3)
    assert picture["without_sinks"] == pytest.approx(0.5)
    assert {line["against"] for line in exported} == {"", "none"}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"groups": ("first", "first", "picture", "question")}, "twice"),
        ({"layers": (layer(4, 1.0, 0.0, 0.0, 0.0, 0.0),)}, "layer 4"),
        ({"layers": (LayerShares(layer=0, shares=(1.0,)),)}, "other groups"),
        ({"layers": (LayerShares(layer=0, on_sinks=(1.0, 2.0)),)}, "other groups"),
        ({"layers": (layer(0, 1e300, 0.0, 0.0, 0.0, 0.0),)}, "no float32"),
        ({"proof": ReadingProof("p V", 0.0, 0.0, True)}, "tolerance"),
    ],
)
def test_what_no_sweep_has_written(changes: dict[str, Any], says: str) -> None:
    own = by_hand.item(1, [0] * 5)
    damaged = structs.replace(own, readings=(structs.replace(shares(*EARLY), **changes),))
    with pytest.raises(BadInput, match=says):
        by_hand.results(damaged)


def test_readings_of_later_versions_are_passed_over(items: list[SweepItem], tmp_path: Path) -> None:
    begin = by_hand.results(*items, against=parse_against("none")).sweep
    (tmp_path / SWEEP).write_bytes(msgspec.json.encode(begin))
    file = tmp_path / "items-00000-of-00001.jsonl"
    later = {"method": "gradients", "of": [1, 2, 3]}
    lines = msgspec.json.decode(msgspec.json.encode(items))
    lines[0]["readings"].append(later)
    lines[1]["readings"] = [later, *lines[1]["readings"]]
    lines.append(msgspec.to_builtins(by_hand.item(7, [0] * 5, "cube")) | {"readings": [later]})
    file.write_bytes(b"".join(msgspec.json.encode(each) + b"\n" for each in lines))
    *same, last = read_items(tmp_path)
    assert same == items and last.readings == ()
    assert read_results(tmp_path).attention is not None
    assert open_item(tmp_path, last.item).rows
    for wrong in ({"of": 1}, {"method": 3}, 5, {"method": "attention"}):
        lines[0]["readings"][-1] = wrong
        file.write_bytes(b"".join(msgspec.json.encode(each) + b"\n" for each in lines))
        with pytest.raises(BadInput, match="line 1: not an item"):
            list(read_items(tmp_path))


def test_a_line_is_read_as_it_was_written(items: list[SweepItem]) -> None:
    for each in items:
        again = msgspec.json.decode(msgspec.json.encode(each), type=SweepItem)
        assert again == each
    line = msgspec.json.decode(msgspec.json.encode(items[0]))
    assert line["readings"][0]["method"] == "attention"
    assert "readings" not in msgspec.json.decode(msgspec.json.encode(by_hand.item(1, [0] * 5)))
