"""The method `attention`: shares, maps, sinks and the heads that localise, as records."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec import structs
from PIL import Image, ImageOps

import samples
from engine.arrays import Array
from engine.asking.asking import Asking
from engine.errors import BadInput
from engine.methods.asked_run import AskedRun
from engine.methods.attention import NEUTRAL, AttentionPart, AttentionReading, LayerAttention
from engine.methods.method import read_whole
from engine.methods.registry import method_of, tables_of
from engine.methods.requests import request_of
from engine.models.loading import LoadedModel
from engine.prompts.token_groups import GROUPS
from engine.records import Picture, Question, Session
from engine.sessions import read_session, write_session
from engine.system.stamps import now


@pytest.fixture(scope="module")
def asked(bundled: LoadedModel) -> AskedRun:
    picture = Picture(path=str(samples.DEFAULT_PICTURE))
    asking = Asking(bundled, Question("Color of the main object:", picture=picture))
    return AskedRun(asking, asking.run())


def read(asked: AskedRun, **settings: Any) -> AttentionReading:
    method = method_of("attention")
    reading = asked.read(method, request_of(method, settings))
    assert isinstance(reading, AttentionReading)
    return reading


def values(array: Array | None) -> Any:
    assert array is not None
    return array.values


def test_shares_sum_to_one_and_maps_are_parts_of_them(asked: AskedRun) -> None:
    mean, every = read(asked), read(asked, heads="all")
    of_picture = GROUPS.index("picture")
    for one, other in zip(mean.layers, every.layers, strict=True):
        shares = values(one.shares)
        assert shares.shape == (one.heads, len(GROUPS) + 1)
        assert np.allclose(shares.sum(-1), 1.0, atol=1e-5)
        assert np.allclose(values(one.shares_without_sinks).sum(-1), 1.0, atol=1e-5)
        assert np.allclose(values(other.map).sum(-1), shares[:, of_picture], atol=1e-6)
        assert np.allclose(values(other.map).mean(0), values(one.map), atol=1e-6)
    assert mean.proof is not None and mean.proof.passed and mean.proof.error != 0
    assert mean.best == every.best and len(mean.best) == 3


def test_a_position_inside_the_picture_looks_at_nothing_after_it(asked: AskedRun) -> None:
    cells = read(asked).cells.integers
    middle = cells[len(cells) // 2]
    reading = read(asked, position=middle, layers="2-3", heads="all")
    assert reading.position == middle
    assert [each.layer for each in reading.layers] == [2, 3]
    after = [index for index, cell in enumerate(cells) if cell > middle]
    for each in reading.layers:
        assert (values(each.map)[:, after] == 0).all()
        assert values(each.shares)[:, GROUPS.index("question")].max() == 0


def test_sinks_are_taken_out_of_the_second_shares_only(
    asked: AskedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No token of the bundled model is a sink, so one is declared to be."""
    from engine.passes import attention_taps

    def second(stream: Any, first: int = 0) -> Any:
        found = stream.new_zeros(len(stream), dtype=bool)
        found[[0, 9]] = True
        return found

    plain = read(asked, heads="all")
    monkeypatch.setattr(attention_taps, "massive", second)
    reading = read(asked, heads="all")
    assert reading.sinks == (0, 9)
    cell = reading.cells.integers.index(9)
    of_picture = GROUPS.index("picture")
    for each, before in zip(reading.layers, plain.layers, strict=True):
        assert np.allclose(values(each.shares), values(before.shares), atol=1e-6)
        raw, without = values(each.shares), values(each.shares_without_sinks)
        on_sinks = raw[:, 0] + values(each.map)[:, cell]
        expected = (raw[:, of_picture] - values(each.map)[:, cell]) / (1 - on_sinks)
        assert np.allclose(without[:, of_picture], expected, atol=1e-4)
        assert (without[:, 0] == 0).all()
    assert "0, 9" in "".join(note for table in tables_of(reading) for note in table.notes)


def test_contributions_are_another_map_of_the_same_weights(asked: AskedRun) -> None:
    weight, sent = read(asked, heads="all"), read(asked, way="contribution", heads="all")
    together = read(asked, way="contribution")
    for one, other, mean in zip(weight.layers, sent.layers, together.layers, strict=True):
        assert one.map_reason is other.map_reason is None
        assert np.array_equal(values(one.shares), values(other.shares))
        a, c = values(one.map), values(other.map)
        assert ((c == 0) == (a == 0)).all()
        assert (values(mean.map) <= c.sum(0) + 1e-5).all()
        # The norm of W_O v differs from token to token.
        ratio = c[a > 1e-6] / a[a > 1e-6]
        assert ratio.max() > 1.2 * ratio.min()


def test_a_part_says_nothing_of_maps_that_come_later(asked: AskedRun) -> None:
    method = method_of("attention")
    lens = asked.subject.loaded.lens
    handle = lens.layers[6].register_forward_pre_hook(lambda *_: time.sleep(0.2))
    try:
        request = request_of(method, {"way": "contribution"})
        *parts, reading = method.read(asked.subject, request, lambda: False)
    finally:
        handle.remove()
    assert isinstance(reading, AttentionReading)
    early = [each for part in parts if isinstance(part, AttentionPart) for each in part.layers]
    assert {each.layer for each in early} >= {*range(5)}
    assert all(each.map is None and each.map_reason is None for each in early)
    for each in early:
        whole = reading.layers[each.layer]
        assert np.array_equal(values(each.shares), values(whole.shares))


def test_relative_is_the_weight_over_that_of_the_neutral_prompt(
    bundled: LoadedModel, asked: AskedRun
) -> None:
    relative, weight = read(asked, way="relative", heads="all"), read(asked, heads="all")
    assert relative.neutral == NEUTRAL
    asking = Asking(bundled, structs.replace(asked.run.question, prompt=NEUTRAL, model=None))
    other = read(AskedRun(asking, asking.run()), heads="all")
    for one, raw, neutral in zip(relative.layers, weight.layers, other.layers, strict=True):
        with np.errstate(all="ignore"):
            expected = values(raw.map) / values(neutral.map)
        assert np.allclose(values(one.map), expected, rtol=1e-4, equal_nan=True)


def test_relative_needs_the_run_s_own_picture(bundled: LoadedModel, tmp_path: Path) -> None:
    path = tmp_path / "scene.png"
    shutil.copy(samples.DEFAULT_PICTURE, path)
    asking = Asking(bundled, Question("Main color:", picture=Picture(path=str(path))))
    asked = AskedRun(asking, asking.run())
    with Image.open(path) as picture:
        ImageOps.invert(picture.convert("RGB")).save(path)
    with pytest.raises(BadInput, match="another picture by now"):
        read(asked, way="relative")
    path.unlink()
    with pytest.raises(BadInput, match=r"scene\.png"):
        read(asked, way="relative")
    read(asked)  # which needs no file


def test_without_a_picture_there_are_shares_and_no_map(bundled: LoadedModel) -> None:
    asking = Asking(bundled, Question("Main color:"))
    asked = AskedRun(asking, asking.run())
    reading = read(asked)
    assert reading.cells.shape == (0,) and reading.best == ()
    assert all(values(each.map).size == 0 for each in reading.layers)
    assert all(
        values(each.shares)[:, GROUPS.index("picture")].max() == 0 for each in reading.layers
    )
    with pytest.raises(BadInput, match="needs a picture"):
        read(asked, way="relative")
    with pytest.raises(BadInput, match="there is no layer 40"):
        read(asked, layers="40")


def test_it_survives_a_session(asked: AskedRun, tmp_path: Path) -> None:
    reading = read(asked, way="contribution", heads="all", layers="4")
    path = tmp_path / "s.json"
    write_session(Session(created=now(), saved=now(), runs=(asked.run,)), path)
    (run,) = read_session(path).runs
    assert reading in run.readings
    assert "attention" in {
        each["method"] for each in json.loads(path.read_text())["runs"][0]["readings"]
    }


@pytest.mark.parametrize(
    "change",
    [
        {"position": 10_000},
        {"sinks": (10_000,)},
        {"cells": Array.of(np.array([10_000] * 64), "<i4")},
        {"layers": (LayerAttention(layer=40),)},
    ],
)
def test_what_cannot_be_of_the_run_is_noticed(asked: AskedRun, change: dict[str, Any]) -> None:
    reading = read(asked)
    assert reading.misfit(asked.run) is None
    changed = structs.replace(structs.replace(reading, layers=()), **change)
    assert changed.misfit(asked.run) is not None


def test_arrays_of_another_shape_are_refused(asked: AskedRun) -> None:
    reading = read(asked)
    first = reading.layers[0]
    for name in ("shares", "shares_without_sinks", "map"):
        wrong = structs.replace(first, **{name: Array.of(np.zeros((3, 3)), "<f4")})
        with pytest.raises(ValueError, match=name.split("_")[0]):
            structs.replace(reading, layers=(wrong,)).__post_init__()


def test_a_layer_whose_heads_look_at_sinks_alone_prints_without_a_warning(
    asked: AskedRun, recwarn: pytest.WarningsRecorder
) -> None:
    reading = read(asked)
    first = reading.layers[0]
    nothing = Array.of(np.full((first.heads, len(GROUPS)), np.nan), "<f4")
    blind = structs.replace(reading, layers=(structs.replace(first, shares_without_sinks=nothing),))
    tables = tables_of(blind)
    assert all(cell in (None, "", "0") for cell in tables[1].rows[0])
    assert not recwarn.list


def test_it_reads_the_same_again(asked: AskedRun) -> None:
    method = method_of("attention")
    one, two = (
        read_whole(method, asked.subject, request_of(method, {"heads": "all"})) for _ in range(2)
    )
    assert structs.replace(one, seconds=0.0) == structs.replace(two, seconds=0.0)
