"""Attention in sweeps: that of each question alone, whatever shares a pass with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from msgspec import UNSET, structs
from PIL import Image

from engine import load
from engine.anatomy.attention_rows import AttentionRow, row_of
from engine.counterfactuals.grammar import parse_against
from engine.counterfactuals.inputs import counterfactual_inputs
from engine.errors import BadInput
from engine.lens.attention import NONE_HERE
from engine.lens.batch_attention import ItemAttention, MeanShares
from engine.lens.lens import Lens
from engine.models.loading import LoadedModel
from engine.passes import attention_taps
from engine.passes.attention_taps import AttentionTaps
from engine.pictures.opening import open_picture
from engine.prompts.preparing import Prepared, prepare
from engine.prompts.token_groups import GROUPS
from engine.records import Question, ReadingProof
from engine.sweeps.attention import attention_shares
from engine.sweeps.records import AttentionShares, LayerShares, SweepItem
from engine.sweeps.results import read_results
from engine.sweeps.sources.opening import open_source
from engine.sweeps.sources.tasks import Prompt, Source
from engine.sweeps.store import count_failures, read_failures, read_sweep
from samples.making.clevr import write_clevr
from tests.folders import FOLDERS
from tests.sweeps.conftest import Sweeper

Opened = Callable[[str], LoadedModel]
ATTENTION = ("attention",)


def reading(item: SweepItem) -> AttentionShares:
    assert item.readings is not UNSET
    (found,) = item.readings
    assert isinstance(found, AttentionShares)
    return found


def question_of(loaded: LoadedModel, item: SweepItem, folder: Path) -> Prepared:
    """What an item asked, prepared alone."""
    assert item.picture is not None
    image = open_picture(folder / item.picture.path).image
    question = Question(prompt=item.prompt)
    own = prepare(loaded.model, loaded.processor, question, image)
    if not item.instead:
        return own
    (instead,) = parse_against(item.instead)
    return counterfactual_inputs(loaded, question, own, instead, image)


def group_of(place: int, prepared: Prepared) -> str:
    token = prepared.tokens[place]
    if place == 0:
        return "first"
    if token.kind == "image":
        return "picture"
    return {"prompt": "question", "prefix": "answer", "system": "system"}.get(
        token.part, "template"
    )


def by_hand(
    loaded: LoadedModel, prepared: Prepared, sinks: Sequence[int] = ()
) -> list[tuple[list[float], list[float], list[float]]]:
    """Of each layer: the shares, those on sinks, and those without sinks."""
    found = []
    for layer in loaded.lens.attention(prepared.inputs):
        assert layer.weights is not None and layer.sink is not None
        heads: list[tuple[list[float], list[float], list[float]]] = []
        for weights, nowhere in zip(layer.weights.tolist(), layer.sink.tolist(), strict=True):
            raw, on, kept = (dict.fromkeys(GROUPS, 0.0) for _ in range(3))
            for place, weight in enumerate(weights):
                group = group_of(place, prepared)
                raw[group] += weight  # type: ignore[index]
                (on if place in sinks else kept)[group] += weight  # type: ignore[index]
            rest = sum(kept.values())
            heads.append(
                ([*raw.values(), nowhere], [*on.values()], [each / rest for each in kept.values()])
            )
        means = [np.mean([head[part] for head in heads], 0).tolist() for part in range(3)]
        found.append((means[0], means[1], means[2]))
    return found


def same(layers: Sequence[LayerShares], wanted: Sequence[tuple[list[float], ...]]) -> None:
    for layer, (raw, on_sinks, without) in zip(layers, wanted, strict=True):
        assert layer.reason is None and layer.keys == "tokens"
        assert layer.shares == pytest.approx(raw, abs=2e-5)
        assert layer.on_sinks == pytest.approx(on_sinks, abs=2e-5)
        assert layer.without_sinks == pytest.approx(without, abs=2e-5)


@pytest.fixture
def photographs(tmp_path: Path) -> Source:
    """Pictures of two sizes, and prompts of unequal length."""
    folder = tmp_path / "photographs"
    folder.mkdir()
    for index, size in enumerate([(40, 24), (24, 40), (40, 24)]):
        Image.effect_noise(size, 90).convert("RGB").save(folder / f"{index}.png")
    return open_source(folder, [Prompt("A?", "a"), Prompt("What is it, then?", "b")])


@pytest.mark.parametrize("size", [5, pytest.param(1, marks=pytest.mark.slow)])
def test_shares_are_those_of_each_question_alone(
    opened: Opened, photographs: Source, sweep: Sweeper, size: int
) -> None:
    """In a batch of five, with padding and with several counterfactuals in one pass."""
    loaded, asked = opened("qwen2_vl"), parse_against("none,black")
    swept = sweep(loaded, photographs, against=asked, reads=ATTENTION, batch_size=size)
    assert (swept.progress.done, swept.progress.failed) == (18, 0)
    assert read_sweep(swept.folder).reads == ATTENTION
    for item in list(swept.items.values())[::2]:
        found = reading(item)
        assert found.groups == GROUPS and found.proof.passed and found.sinks == 0
        prepared = question_of(loaded, item, Path(photographs.path))
        same(found.layers, by_hand(loaded, prepared))
    looked = read_results(swept.folder).instead["none"].attention
    assert looked is not None and not looked.shares[..., GROUPS.index("picture")].any()


def test_rows_are_those_without_attention(
    bundled: LoadedModel, tmp_path: Path, sweep: Sweeper, no_beginnings: None
) -> None:
    write_clevr(tmp_path / "data", 2)
    plain = sweep(bundled, tmp_path / "data", "plain", batch_size=2)
    read = sweep(bundled, tmp_path / "data", "read", batch_size=2, reads=ATTENTION)
    # The vision pass is shared all the same.
    assert read.progress.notes["sharing"] == plain.progress.notes["sharing"]
    assert read.progress.notes["beginnings"].startswith("off: attention is read")
    same_but: dict[str, Any] = {"readings": UNSET, "seconds": {}, "made": UNSET}
    for name, own in plain.items.items():
        assert structs.replace(read.items[name], **same_but) == structs.replace(own, **same_but)
    item = next(iter(read.items.values()))
    prepared = question_of(bundled, item, tmp_path / "data")
    same(reading(item).layers, by_hand(bundled, prepared))


def test_sinks_are_counted_apart_and_never_in_the_padding(
    opened: Opened, photographs: Source, sweep: Sweeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    def some(stream: torch.Tensor, first: int = 0) -> torch.Tensor:
        found = torch.zeros(len(stream), dtype=torch.bool)
        found[[0, 4, len(stream) - 1]] = True
        return found

    monkeypatch.setattr(attention_taps, "massive", some)
    loaded = opened("qwen2_vl")
    swept = sweep(loaded, photographs, reads=ATTENTION, batch_size=6)
    for item in swept.items.values():
        prepared = question_of(loaded, item, Path(photographs.path))
        # The last place of the batch is a token of the longer prompt, padding of the shorter.
        sinks = [0, 4, len(prepared.tokens) - 1][: 3 if item.group == "b" else 2]
        assert reading(item).sinks == len(sinks)
        same(reading(item).layers, by_hand(loaded, prepared, sinks))


@pytest.mark.filterwarnings("ignore")  # the libraries' own, of their processors
@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        pytest.param("mllama", {"tokens", "states"}, marks=pytest.mark.slow),
        pytest.param("florence2", {"tokens", "states"}, marks=pytest.mark.slow),
        pytest.param("git", {"tokens"}, marks=pytest.mark.slow),
        pytest.param("idefics3", {"tokens"}, marks=pytest.mark.slow),
    ],
)
def test_other_families(
    name: str, kinds: set[str], photographs: Source, tmp_path: Path, sweep: Sweeper
) -> None:
    FOLDERS[name](tmp_path / "model")
    loaded = load(tmp_path / "model")
    swept = sweep(loaded, photographs, reads=ATTENTION, batch_size=4)
    assert swept.progress.done == 6 and not read_failures(swept.folder)
    alone = sweep(loaded, photographs, "alone", reads=ATTENTION, batch_size=1)
    seen = set()
    for item, one in swept.items.items():
        for layer, twin in zip(reading(one).layers, reading(alone.items[item]).layers, strict=True):
            assert (layer.layer, layer.keys, layer.reason) == (twin.layer, twin.keys, twin.reason)
            if layer.shares is not None:
                assert sum(share or 0.0 for share in layer.shares) == pytest.approx(1.0, abs=1e-4)
                assert layer.shares == pytest.approx(twin.shares, abs=1e-4)
                seen.add(layer.keys)
    assert seen == kinds


def test_what_is_not_proved_is_not_stored(
    opened: Opened, photographs: Source, sweep: Sweeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(*args: Any) -> AttentionRow:
        found = row_of(*args)
        return replace(found, checks=found.checks + torch.tensor([[1.0], [0.0]]))

    monkeypatch.setattr(attention_taps, "row_of", wrong)
    loaded = opened("llava")
    swept = sweep(loaded, photographs, reads=ATTENTION, batch_size=3)
    assert swept.progress.done == 6
    assert all(item.readings is UNSET for item in swept.items.values())
    failures = read_failures(swept.folder)
    assert {failure.item for failure in failures} == {*swept.items}
    assert count_failures(swept.folder) == (0, 0)  # the questions have been asked
    assert all("attention" in each.error and "not the kernel's" in each.error for each in failures)
    assert "not read of every item" in swept.progress.notes["attention"]
    monkeypatch.undo()
    again = sweep(loaded, photographs, reads=ATTENTION, retry=True)
    assert again.progress.total == 0 and read_failures(swept.folder) == failures


def test_one_layer_that_is_not_proved_has_a_reason(
    opened: Opened, photographs: Source, sweep: Sweeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = opened("llava")
    last = loaded.lens.layers[-1] if hasattr(loaded.lens, "layers") else None
    own = AttentionTaps._tap

    def spoilt(self: AttentionTaps, tap: Any, *rest: Any, **named: Any) -> None:
        own(self, tap, *rest, **named)
        if tap.layer == 1 and tap.row is not None:
            tap.row = replace(tap.row, checks=tap.row.checks + torch.tensor([[1.0], [0.0]]))

    assert last is not None
    monkeypatch.setattr(AttentionTaps, "_tap", spoilt)
    swept = sweep(loaded, photographs, reads=ATTENTION, batch_size=3)
    for item in swept.items.values():
        first, second = reading(item).layers[:2]
        assert first.shares is not None and second.shares is None
        assert second.reason is not None and "not the kernel's" in second.reason
    assert not read_failures(swept.folder)
    results = read_results(swept.folder)
    assert results.attention is not None and set(results.attention.reasons) == {1}


def test_a_model_whose_attention_cannot_be_read(
    opened: Opened, photographs: Source, sweep: Sweeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("no such kernel")

    monkeypatch.setattr(Lens, "read_attention", fail)
    swept = sweep(opened("llava"), photographs, reads=ATTENTION)
    assert swept.progress.done == 6 and "no such kernel" in swept.progress.notes["attention"]
    failures = read_failures(swept.folder)
    assert len(failures) == 6 and all("no such kernel" in each.error for each in failures)
    assert read_results(swept.folder).attention is None


@pytest.mark.parametrize("bad", [1, 2, 100])
def test_a_question_whose_attention_fails_does_not_end_that_of_others(
    opened: Opened,
    photographs: Source,
    sweep: Sweeper,
    monkeypatch: pytest.MonkeyPatch,
    bad: int,
) -> None:
    """Unless three in a row fail: each costs a pass."""
    own, tries = Lens.read_attention, []

    def read_attention(self: Lens, *given: Any, **named: Any) -> Any:
        tries.append(given)
        if len(tries) <= bad:
            raise RuntimeError(f"failed {len(tries)} times")
        return own(self, *given, **named)

    monkeypatch.setattr(Lens, "read_attention", read_attention)
    swept = sweep(opened("llava"), photographs, reads=ATTENTION, batch_size=1)
    assert swept.progress.done == 6 and len(tries) == min(3, bad + 1)
    read = sum(item.readings is not UNSET for item in swept.items.values())
    errors = [each.error for each in read_failures(swept.folder)]
    assert (read, len(errors)) == ((0, 6) if bad == 100 else (6 - bad, bad))
    assert [error.split()[-2] for error in errors] == ["1", "2", "3", "3", "3", "3"][: len(errors)]
    assert "not read of every item" in swept.progress.notes["attention"]


def test_a_hybrid_says_what_went_wrong() -> None:
    failed = ReadingProof("p V", 2.0, 1.0, False)
    layers = (
        MeanShares(0, "tokens", reason=NONE_HERE),
        MeanShares(1, "tokens", reason="not the kernel's", proof=failed),
    )
    assert attention_shares(ItemAttention(layers, 0)) == (
        "no layer's attention can be read: not the kernel's"
    )


def test_results_with_other_readings_are_refused(
    opened: Opened, photographs: Source, sweep: Sweeper
) -> None:
    loaded = opened("llava")
    sweep(loaded, photographs, "with", reads=ATTENTION)
    with pytest.raises(BadInput, match="another set of readings: it was attention, and is none"):
        sweep(loaded, photographs, "with")
    sweep(loaded, photographs, "without")
    with pytest.raises(BadInput, match="it was none, and is attention"):
        sweep(loaded, photographs, "without", reads=ATTENTION)


def test_only_contributions_keep_the_values(opened: Opened, photographs: Source) -> None:
    """A layer's values are as large as its part of a cache."""
    loaded = opened("llava")
    picture = next(iter(photographs.pictures))
    assert picture.file is not None
    image = open_picture(picture.file).image
    inputs = prepare(loaded.model, loaded.processor, Question(prompt="A?"), image).inputs
    kept: Counter[bool] = Counter()
    own = AttentionTaps._tap

    def counted(self: AttentionTaps, tap: Any, *rest: Any, **named: Any) -> None:
        own(self, tap, *rest, **named)
        assert tap.row is not None
        kept[tap.row.value is not None] += 1

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(AttentionTaps, "_tap", counted)
        loaded.lens.attention(inputs)
        assert kept[False] and not kept[True]
        for _ in loaded.lens.read_attention(inputs, projected=(0,)):
            pass
        assert kept[True] == 1
