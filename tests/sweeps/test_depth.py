"""What sweeps read by depth: the numbers of single runs, averaged over groups."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec import UNSET, structs

from engine.arrays import Array
from engine.counterfactuals.grammar import parse_against
from engine.counterfactuals.inputs import counterfactual_inputs
from engine.door import Loaded
from engine.errors import BadInput, CannotRead
from engine.methods import tracing
from engine.methods.method import Subject
from engine.methods.tracing import Metric, Site, TracingReading, TracingRequest
from engine.models.loading import LoadedModel
from engine.pictures.opening import open_picture
from engine.prompts.preparing import Prepared, prepare
from engine.records import Question, ReadingProof
from engine.sweeps import figures
from engine.sweeps.depth.parts import ANSWER, SUM, TRUTH
from engine.sweeps.depth.tracing import DIFFERENCE, Tracing
from engine.sweeps.export import DEPTH, depth_rows, numbers, write_lines
from engine.sweeps.findings import ALL, Findings, find
from engine.sweeps.item_report import item_sections
from engine.sweeps.records import (
    DepthCurve,
    DepthOrder,
    DepthSet,
    PartShares,
    Recoveries,
    SweepItem,
)
from engine.sweeps.report import sections
from engine.sweeps.results import read_results
from engine.sweeps.store import read_sweep
from samples.making.clevr import write_clevr
from tests.sweeps import test_findings as by_hand
from tests.sweeps.conftest import Sweeper, Swept, sweeper
from tui.cli import main

SECOND = (1, 2)
"""The shard that has the second scene."""
PROOF = ReadingProof("as by hand", 0.5, 1.0, True)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two scenes with four questions each, the first of them empty; not to be changed."""
    folder = tmp_path_factory.mktemp("data")
    write_clevr(folder, 2)
    return folder


@pytest.fixture(scope="module")
def parts(bundled: LoadedModel, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Swept:
    """Their parts; not to be changed."""
    return sweeper(tmp_path_factory.mktemp("parts"))(
        bundled, data, shard=SECOND, reads=("parts",), batch_size=4
    )


def shares(item: SweepItem) -> PartShares:
    assert item.readings is not UNSET
    (found,) = item.readings
    assert isinstance(found, PartShares)
    return found


def prepared(loaded: LoadedModel, item: SweepItem, data: Path) -> Prepared:
    assert item.picture is not None
    image = open_picture(data / item.picture.path).image
    return prepare(loaded.model, loaded.processor, Question(prompt=item.prompt), image)


def test_parts_are_those_of_single_runs(bundled: LoadedModel, data: Path, parts: Swept) -> None:
    assert (parts.progress.done, parts.progress.failed) == (4, 0)
    for item in parts.items.values():
        found = shares(item)
        assert found.proof is not None and found.proof.passed and found.reason is None
        own = bundled.lens.parts(prepared(bundled, item, data).inputs)
        answer, truth = found.sets
        assert (answer.of, truth.of) == (ANSWER, TRUTH)
        best, second = own.logits.topk(2).indices.tolist()
        assert [token.id for token in answer.tokens] == [best, second]
        wanted = (own.share(best) - own.share(second)).tolist()
        named = dict(zip(own.names, wanted, strict=True))
        by_name = {curve.name: curve.values for curve in answer.curves}
        assert {*by_name} == {"attention", "MLP"}
        for name, values in by_name.items():
            alone = [named[f"layer {layer}: {name}"] for layer in range(len(values))]
            assert values == pytest.approx(alone, abs=1e-5)
        for name in ("embedding", "bias"):
            assert answer.numbers[name] == pytest.approx(named[name], abs=1e-5)
        difference = float(own.logits[best] - own.logits[second])
        assert answer.numbers[SUM] == pytest.approx(difference, abs=1e-3)
        assert answer.numbers[SUM] == pytest.approx(sum(wanted), abs=1e-4)


@pytest.mark.slow
def test_the_truth_is_compared_with_the_best_token_that_is_none_of_its_spellings(
    bundled: LoadedModel, data: Path, parts: Swept
) -> None:
    for item in parts.items.values():
        truth = shares(item).sets[1]
        own = bundled.lens.parts(prepared(bundled, item, data).inputs)
        one, other = (token.id for token in truth.tokens)
        logits = own.logits.tolist()
        assert one in item.spellings and other not in item.spellings
        assert logits[one] == max(logits[token] for token in item.spellings)
        rest = [value for token, value in enumerate(logits) if token not in item.spellings]
        assert logits[other] == max(rest)
        assert truth.numbers[SUM] == pytest.approx(logits[one] - logits[other], abs=1e-3)
        right = item.rows[-1].top[0].id in item.spellings
        assert (truth.numbers[SUM] > 0) is right  # type: ignore[operator]


# Means, from curves made by hand: four layers


def of_parts(item: SweepItem, *first: float | None, sum_of: float = 0.0) -> SweepItem:
    """With this attention, and an MLP of nothing."""
    found = DepthSet(
        of=ANSWER,
        by="layer",
        numbers={SUM: sum_of},
        curves=(DepthCurve("attention", first), DepthCurve("MLP", (0.0,) * 4)),
    )
    return structs.replace(item, readings=(PartShares(sets=(found,), proof=PROOF),))


def of_tracing(item: SweepItem, difference: float, *picture: float | None) -> SweepItem:
    found = DepthSet(
        of="noise=500",
        by="row",
        numbers={DIFFERENCE: difference},
        curves=(DepthCurve("picture", picture),),
    )
    return structs.replace(item, readings=(Recoveries(sets=(found,), proof=PROOF),))


def unread(item: SweepItem, reason: str) -> SweepItem:
    return structs.replace(item, readings=(Recoveries(reason=reason),))


CUBE = by_hand.item(1, [7, 0, 1, 1, 1], "sphere")
OTHER = by_hand.item(2, [7, 1, 0, 0, 6], "sphere")
RED = by_hand.item(3, [7, 1, 0, 0, 6], "red", "colour")


def found(*items: SweepItem, **settings: Any) -> Findings:
    return find(by_hand.results(*items, **settings), samples=200)


def curve(findings: Findings, group: str, name: str) -> Any:
    (depth,) = findings.by_depth
    (means,) = [each for each in depth.means if each.group == group and not each.against]
    return means.curves[name]


def test_shares_are_averaged_by_group_and_layer() -> None:
    findings = found(
        of_parts(CUBE, 1.0, 2.0, 3.0, None, sum_of=6.0),
        of_parts(OTHER, 3.0, 2.0, 1.0, None, sum_of=2.0),
        of_parts(RED, -1.0, 0.0, 0.0, 4.0, sum_of=3.0),
    )
    assert curve(findings, "shape", "attention").value.tolist()[:3] == [2.0, 2.0, 2.0]
    assert curve(findings, "shape", "attention").n.tolist() == [2, 2, 2, 0]
    assert curve(findings, ALL, "attention").value.tolist() == pytest.approx([1, 4 / 3, 4 / 3, 4])
    _, low, high, _ = curve(findings, "shape", "attention")
    assert (low[0], high[0]) == (1.0, 3.0)  # of two pictures, either may be drawn twice
    (depth,) = findings.by_depth
    totals = {each.group: each.numbers[SUM] for each in depth.means}
    assert totals["shape"].value == 4.0 and totals["colour"].n == 1
    assert depth.worst == 0.5 and depth.lines == 3 and not depth.unread


def test_recoveries_are_of_the_difference_of_all_items_together() -> None:
    """An item between whose passes there is hardly a difference hardly counts."""
    findings = found(
        of_tracing(CUBE, 3.0, 1.0, 1.0, 0.5, 0.0, 0.0),
        of_tracing(OTHER, 1.0, 1.0, 0.0, 0.5, 0.0, 0.0),
        of_tracing(RED, 1e-6, -1000.0, 0.0, None, 0.0, 0.0),
    )
    assert curve(findings, "shape", "picture").value.tolist() == [1.0, 0.75, 0.5, 0.0, 0.0]
    whole = (3.0 + 1.0 - 1e-3) / (4.0 + 1e-6)
    assert curve(findings, ALL, "picture").value[0] == pytest.approx(whole)
    assert curve(findings, ALL, "picture").value[2] == 0.5


def test_differences_of_both_signs_do_not_cancel() -> None:
    findings = found(
        of_tracing(CUBE, 3.0, 1.0, 0.5, 0.5, 0.0, 0.0),
        of_tracing(OTHER, -2.9, 0.8, 0.5, 0.0, 0.0, 0.0),
    )
    mean = curve(findings, "shape", "picture").value
    assert mean[:2].tolist() == pytest.approx([(3.0 + 0.8 * 2.9) / 5.9, 0.5])
    assert mean[2] == pytest.approx(0.5 * 3.0 / 5.9)


def test_what_could_not_be_read_is_counted_with_its_reason() -> None:
    findings = found(
        of_tracing(CUBE, 1.0, 1.0, 0.8, 0.6, 0.4, 0.2),
        unread(OTHER, "' no' is 1.5e-05 apart"),
        unread(RED, "' one' is 3 apart"),
    )
    (section,) = [each for each in sections(findings) if each.title == Tracing.title]
    assert "not read of 2 of 3 lines: ' no' is 1.5e-05 apart (2)" in section.notes
    (table,) = section.tables
    shown = ("100.0%", "80.0%", "60.0%", "40.0%", "20.0%")
    assert table.rows[0] == ("shape", "picture", *shown, "100.0% [100.0%, 100.0%] at 0", "1")
    assert table.rows[1] == ("shape", DIFFERENCE, *[""] * 5, "+1.00 [+1.00, +1.00]", "1")
    assert [column.head for column in table.columns][:3] == ["group", "noise=500", "row 0"]
    # Of a group of which nothing was read there is no line.
    assert {row[0] for row in table.rows} == {"shape", ALL}
    (none,) = [
        each for each in sections(found(unread(CUBE, "no")))
        if each.title == Tracing.title
    ]  # fmt: skip
    assert none.notes == ("not read of 1 of 1 line: no (1)",) and none.figure is None


def test_what_has_no_picture_stands_apart(tmp_path: Path) -> None:
    without = structs.replace(
        of_parts(by_hand.item(4, [7] * 5, "sphere", picture=1), 5.0, 0.0, 0.0, 0.0),
        against="none",
    )
    own = of_parts(CUBE, 1.0, 0.0, 0.0, 0.0)
    findings = found(own, without, against=parse_against("none"))
    (depth,) = findings.by_depth
    assert [(each.against, each.curves["attention"].value[0]) for each in depth.means] == [
        ("", 1.0), ("none", 5.0),
    ]  # fmt: skip
    (section,) = [each for each in sections(findings) if each.figure == "parts"]
    (table,) = section.tables
    assert [row[1] for row in table.rows] == ["the picture"] * 3 + ["none"] * 3
    assert [row[2] for row in table.rows] == ["attention", "MLP", SUM] * 2
    figure = figures._by_depth(depth, findings)
    assert figure is not None
    line = figure.axes[0].lines[0]
    assert [*map(float, line.get_ydata())] == [1.0, 0.0, 0.0, 0.0]  # type: ignore[arg-type]
    lines = [line for line in numbers(findings) if line["finding"] == "parts"]
    assert len(lines) == 2 * (1 + 2 * 4)
    assert lines[1] == {
        "finding": "parts", "group": "shape", "measure": "attention", "normed": None, "row": None,
        "value": 1.0, "low": 1.0, "high": 1.0, "n": 1, "detail": ANSWER, "layer": 0,
    }  # fmt: skip
    write_lines(depth_rows([own, without], "parts"), DEPTH, tmp_path / "parts.csv")
    with (tmp_path / "parts.csv").open() as stream:
        rows = [*csv.DictReader(stream)]
    assert len(rows) == 2 * (1 + 2 * 4)
    assert (rows[1]["name"], rows[1]["layer"], rows[1]["value"]) == ("attention", "0", "1.0")
    assert rows[-1]["against"] == "none"
    assert next(depth_rows([unread(CUBE, "no")], "tracing"))["reason"] == "no"


@pytest.mark.parametrize(
    ("reading", "says"),
    [
        (PartShares(), "neither a reading nor one reason"),
        (PartShares(sets=(DepthSet("x", "layer", {}, (DepthCurve("a", (0.0,)),)),)), "length"),
        (PartShares(sets=(DepthSet("x", "row", {"a": 1e300}, ()),)), "number"),
        (PartShares(sets=(DepthSet("x", "row", {}, ()),) * 2), "twice"),
        (PartShares(reason="no", proof=ReadingProof("", 0.0, 0.0, True)), "tolerance"),
        (
            PartShares(sets=(DepthSet("x", "row", {f"{i}": 0.0 for i in range(1001)}, ()),)),
            "more than 1000 curves",
        ),
    ],
)
def test_what_no_sweep_can_have_written(reading: PartShares, says: str) -> None:
    with pytest.raises(BadInput, match=says):
        by_hand.results(structs.replace(CUBE, readings=(reading,)))


def test_curves_by_layer_and_by_row_are_kept_apart() -> None:
    """Whatever a damaged folder names alike."""
    by_layer = DepthSet("x", "layer", {}, (DepthCurve("a", (1.0,) * 4),))
    by_row = DepthSet("x", "row", {}, (DepthCurve("a", (1.0,) * 5),))
    findings = found(
        structs.replace(CUBE, readings=(PartShares(sets=(by_layer,)),)),
        structs.replace(OTHER, readings=(PartShares(sets=(by_row,)),)),
    )
    (depth,) = findings.by_depth
    assert [len(each.curves["a"].value) for each in depth.means] == [4, 5]
    assert depth.lines == 2 and math.isnan(depth.worst)
    (section,) = [each for each in sections(findings) if each.figure == "parts"]
    assert len(section.tables) == 2


def test_a_narrow_page_has_fewer_columns() -> None:
    (section,) = [
        each
        for each in sections(found(of_tracing(CUBE, 1.0, 1.0, 0.8, 0.6, 0.4, 0.2)), 3)
        if each.title == Tracing.title
    ]
    assert [column.head for column in section.tables[0].columns][2:5] == ["row 0", "row 2", "row 4"]
    assert "3 of 5 rows; a wider page has more, the exported numbers have all" in section.notes


def test_an_item_has_recoveries_below_none_and_above_all() -> None:
    (section,) = item_sections(of_tracing(CUBE, 1.0, -0.42, 1.37, 0.5, 1.0), 5)
    (table,) = section.tables
    (recovered,) = [row for row in table.rows if "-42.0%" in row]
    assert recovered[2:4] == ("137.0%", "50.0%")
    (difference,) = [row for row in table.rows if row[0] == DIFFERENCE]
    assert difference[-1] == "+1.00"


# Tracing: what the method is given of each item


def traced(
    self: tracing.Tracing, subject: Subject, request: TracingRequest, stop: Any
) -> Iterator[TracingReading]:
    """A reading that tells what it was read from: the logits of both runs."""
    corrupt = subject.against(request.against)
    clean = subject.run.rows[-1].top[0]
    others = {token.id: token.logit for token in corrupt.run.rows[-1].top}
    layers = subject.run.layers
    picture = tuple(i for i, token in enumerate(subject.run.tokens) if token.kind == "image")
    same = [token.id for token in subject.run.tokens] == [t.id for t in corrupt.run.tokens]
    assert same and corrupt.run.question.counterfactual is not None
    values = np.linspace(1.0, 0.0, layers + 1, dtype="<f4")[None]
    changed = subject.inputs["pixel_values"] - corrupt.inputs["pixel_values"]
    yield TracingReading(
        request=request,
        proof=PROOF,
        position=subject.run.position,
        against=corrupt.run.id,
        sites=(Site("picture", picture),),
        rows=tuple(range(layers + 1)),
        recovery=Array.of(values * float(changed.abs().sum()), "<f4"),
        metric=Metric((clean,), clean.logit, others.get(clean.id)),
    )


def order(against: str = "noise") -> dict[str, DepthOrder]:
    return {"tracing": Tracing().order({"against": against}, seed=3)}


@pytest.mark.slow
def test_an_item_is_traced_as_a_single_run_is(
    bundled: LoadedModel, data: Path, sweep: Sweeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracing.Tracing, "read", traced)
    asked = {"reads": ("tracing",), "orders": order(), "batch_size": 4}
    swept = sweep(bundled, data, shard=SECOND, against=parse_against("black"), **asked)
    assert (swept.progress.done, swept.progress.failed) == (8, 0)
    assert read_sweep(swept.folder).orders == order()
    (noise,) = parse_against("noise", 3)
    for item in swept.items.values():
        if item.instead:
            assert item.readings is UNSET  # there is no picture to compare with
            continue
        assert item.readings is not UNSET and item.seconds["tracing"] > 0
        (found,) = item.readings
        assert isinstance(found, Recoveries) and found.reason is None
        own = prepared(bundled, item, data)
        assert item.picture is not None
        image = open_picture(data / item.picture.path).image
        question = Question(prompt=item.prompt)
        other = counterfactual_inputs(bundled, question, own, noise, image)
        changed = own.inputs["pixel_values"] - other.inputs["pixel_values"]
        (each,) = found.sets
        assert (each.of, each.by) == ("noise=500 (seed 3), log-probability", "row")
        size = float(changed.abs().sum())
        assert each.curves[0].values == pytest.approx(
            [size * (1 - row / 10) for row in range(11)], rel=1e-5
        )
        clean = bundled.lens.logits(own.inputs)[-1, 0, 0]
        corrupt = bundled.lens.logits(other.inputs)[-1, 0, 0]
        token = item.rows[-1].top[0].id
        difference = float(clean[token] - corrupt[token])
        assert each.numbers[DIFFERENCE] == pytest.approx(difference, abs=1e-4)
    with pytest.raises(BadInput, match="another request to tracing: it was against=noise=500"):
        sweep(bundled, data, shard=SECOND, reads=("tracing",), orders=order("white"))


@pytest.mark.slow
def test_recoveries_are_those_of_single_runs(bundled: Loaded, data: Path, sweep: Sweeper) -> None:
    settings = {"against": "noise-pure", "sites": "picture", "rows": "5,10"}
    orders = {"tracing": Tracing().order(settings, seed=0)}
    swept = sweep(bundled, data, shard=SECOND, reads=("tracing",), orders=orders, batch_size=4)
    traced_so_far = 0
    for item in [*swept.items.values()][:2]:
        assert item.picture is not None and item.readings is not UNSET
        (found,) = item.readings
        assert isinstance(found, Recoveries)
        asked = bundled.ask(item.prompt, data / item.picture.path)
        if found.reason is not None:
            with pytest.raises((BadInput, CannotRead), match="no difference that could be traced"):
                asked.read("tracing", **settings)
            assert "no difference that could be traced" in found.reason
            continue
        traced_so_far += 1
        alone = asked.read("tracing", **settings)
        assert found.proof is not None and found.proof.passed
        assert isinstance(alone, TracingReading)
        (each,) = found.sets
        assert [token.id for token in each.tokens] == [token.id for token in alone.metric.of]
        assert each.of.endswith(", log-probability") is (len(each.tokens) == 1)
        for curve, site, row in zip(
            each.curves, alone.sites, np.asarray(alone.recovery), strict=True
        ):
            assert curve.name == site.name
            assert [curve.values[place] for place in (5, 10)] == pytest.approx(row, abs=1e-4)
            assert [value for value in curve.values if value is not None] == [
                curve.values[place] for place in (5, 10)
            ]
        assert alone.metric.clean is not None and alone.metric.corrupt is not None
        difference = alone.metric.clean - alone.metric.corrupt
        assert each.numbers[DIFFERENCE] == pytest.approx(difference, abs=1e-3)
    assert traced_so_far


@pytest.mark.slow
def test_what_cannot_be_traced_is_stored_with_the_reason(
    bundled: LoadedModel, data: Path, sweep: Sweeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors = iter([CannotRead("no rows"), BadInput("no such site"), RuntimeError("no kernel")])

    def fail(*_: Any) -> Iterator[TracingReading]:
        raise next(errors, None) or CannotRead("no rows")
        yield

    monkeypatch.setattr(tracing.Tracing, "read", fail)
    swept = sweep(bundled, data, shard=SECOND, reads=("tracing",), orders=order(), batch_size=4)
    assert (swept.progress.done, swept.progress.failed) == (4, 0)
    (depth,) = find(read_results(swept.folder), samples=10).by_depth
    assert not depth.means and depth.lines == 4
    assert {reason.rsplit(": ")[-1]: count for reason, count in depth.unread.items()} == {
        "no rows": 2, "no such site": 1, "no kernel": 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ("tracing:against=none", "has other tokens than the picture"),
        ("tracing:against=0123456789abcdef", "no counterfactual"),
        ('tracing:against="noise,black"', "takes one counterfactual"),
        ("tracing:position=3", "leave position= out"),
        ("tracing:where=7", "it takes against="),
        ("parts:heads=true", "take no settings"),
    ],
)
def test_what_a_sweep_cannot_be_asked(
    settings: str, says: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["sweep", "--data", str(data), "--out", str(tmp_path / "out"), "--read", settings]
    assert main(given) == 2
    assert says in capsys.readouterr().err
