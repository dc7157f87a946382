"""Sweeps with something else instead of the picture: a line per question and counterfactual, each
that of asking it alone, each once, whatever happens meanwhile."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch
from msgspec import UNSET, structs
from PIL import Image

from engine import load
from engine.asking.asking import Asking
from engine.counterfactuals.grammar import parse_against
from engine.counterfactuals.inputs import counterfactual_inputs
from engine.errors import BadInput, Remedy
from engine.lens.lens import Lens
from engine.models.loading import LoadedModel
from engine.pictures.opening import open_picture
from engine.prompts.preparing import prepare
from engine.records import Picture, Question
from engine.sweeps import dividing
from engine.sweeps.preparing import Preparing
from engine.sweeps.records import SweepItem
from engine.sweeps.reopening import open_item
from engine.sweeps.replacing import asked_as, replacements, with_replacements
from engine.sweeps.results import read_results
from engine.sweeps.sources.opening import open_source
from engine.sweeps.sources.tasks import PictureTasks, Prompt, Source, Task
from engine.sweeps.store import item_id, read_failures, read_items, read_sweep, task_key
from samples.making.clevr import write_clevr
from tests.folders import FOLDERS
from tests.sweeps.conftest import Sweeper, described
from tests.sweeps.test_running import CHILD, alike, arguments, ended, program

Opened = Callable[[str], LoadedModel]
ALL = "none,unk,unk-all,noise,noise=999,noise-pure,zero,one,black,white,blur,mean-patch"


def lines(folder: Path) -> list[dict[str, Any]]:
    return [
        json.loads(line)
        for file in sorted(folder.glob("items-*.jsonl"))
        for line in file.read_bytes().splitlines()
    ]


def instead_of(items: Mapping[str, SweepItem] | Iterable[SweepItem]) -> Counter[str]:
    found = items.values() if isinstance(items, Mapping) else items
    return Counter(item.instead for item in found)


@pytest.fixture
def photographs(tmp_path: Path) -> Source:
    """Pictures of two sizes, and two prompts of unequal length."""
    folder = tmp_path / "photographs"
    folder.mkdir()
    for index, size in enumerate([(40, 24), (24, 40), (40, 24)]):
        Image.effect_noise(size, 90).convert("RGB").save(folder / f"{index}.png")
    return open_source(folder, [Prompt("A?", "a"), Prompt("What is it, then?", "b")])


def test_names_are_as_they_were_asked_for(tmp_path: Path) -> None:
    file = tmp_path / "b.png"
    Image.new("RGB", (9, 9)).save(file)
    asked = replacements(["none,noise,noise=999", f"blur,blur=2.5,other={file},unk"])
    names = [asked_as(each) for each in asked]
    assert names == [
        "none", "noise=500", "noise=999", "blur", "blur=2.5", f"other={file}", "unk",
    ]  # fmt: skip
    assert asked[5].parameters["sha256"] == open_picture(file).record.sha256
    assert [asked_as(each) for each in replacements("noise,black", 7)] == [
        "noise=500 (seed 7)", "black",
    ]  # fmt: skip
    for wrong in ("", "grey", "noise=x", f"other={tmp_path / 'gone.png'}"):
        with pytest.raises(BadInput):
            replacements(wrong)


def test_every_counterfactual_has_a_key_and_an_id_of_its_own(bundled: LoadedModel) -> None:
    own = (Task("A?"), Task("B?", "b", "red"))
    tasks = [*with_replacements(own, ["none", "noise=500", "noise=500 (seed 1)"])]
    assert tasks[:2] == [*own] and len(set(tasks)) == 8
    # Those about the same pixels follow one another.
    assert [task.against for task in tasks[::2]] == [task.against for task in tasks[1::2]]
    assert len({task_key("a.png", task) for task in tasks}) == 8
    source = Source("folder", "p", (), "0", 1, 2)
    sweep = described(bundled, source)
    assert len({item_id(sweep, "ab" * 32, task) for task in tasks}) == 8


@pytest.mark.parametrize("name", ["llava", pytest.param("qwen2_vl", marks=pytest.mark.slow)])
def test_inputs_are_those_of_each_question_alone(
    opened: Opened, photographs: Source, tmp_path: Path, name: str
) -> None:
    loaded = opened(name)
    other = tmp_path / "other.png"
    Image.effect_noise((60, 60), 50).convert("RGB").save(other)
    asked = replacements([ALL, f"other={other}"], seed=3)
    names = {asked_as(each): each for each in asked}
    question = Question(prompt="", prefix="It is")
    wanted = [
        PictureTasks(each.path, each.file, tuple(with_replacements(each.tasks, [*names])))
        for each in list(photographs.pictures)[:2]
    ]
    with closing(Preparing(loaded, question, against=asked)) as preparing:
        for made in preparing.pictures(wanted):
            assert len(made.tasks) + len(made.failed) == 2 * (1 + len(asked))
            image = open_picture(Path(photographs.path) / made.path).image
            for each in made.tasks:
                put = structs.replace(question, prompt=each.task.prompt)
                alone = prepare(loaded.model, loaded.processor, put, image)
                if each.task.against:
                    alone = counterfactual_inputs(
                        loaded, put, alone, names[each.task.against], image
                    )
                    assert each.counterfactual == alone.counterfactual
                assert each.inputs.keys() == alone.inputs.keys()
                for key, value in alone.inputs.items():
                    assert torch.equal(each.inputs[key], value), (each.task, key)
            for first, second in zip(made.tasks[::2], made.tasks[1::2], strict=True):
                assert first.task.against == second.task.against
                for key, value in first.inputs.items():
                    if value.is_floating_point():  # one tensor, so that no pass compares it
                        assert second.inputs[key] is value


def test_lines_are_those_of_asking_one_by_one(
    bundled: LoadedModel, tmp_path: Path, sweep: Sweeper
) -> None:
    write_clevr(tmp_path / "data", 1)
    asked = replacements("none,noise=999,blur", seed=5)
    swept = sweep(bundled, tmp_path / "data", batch_size=2, against=asked)
    names = [asked_as(each) for each in asked]
    assert instead_of(swept.items) == dict.fromkeys(["", *names], 4)
    assert (swept.progress.done, swept.progress.failed, swept.progress.total) == (16, 0, 16)
    assert swept.progress.notes["beginnings"].startswith("prompts of a picture go on from the keys")
    for item in list(swept.items.values())[::3]:
        assert item.picture is not None
        picture = Picture(path=str(tmp_path / "data" / item.picture.path))
        counterfactual = next((each for each in asked if asked_as(each) == item.instead), None)
        question = Question(prompt=item.prompt, picture=picture, counterfactual=counterfactual)
        run = Asking(bundled, question).run()
        for row, reading in zip(item.rows, run.rows, strict=True):
            assert row.top[0].probability == pytest.approx(reading.top[0].probability, abs=1e-5)
            assert row.entropy == pytest.approx(reading.entropy, abs=1e-4)
        if item.instead:
            assert item.counterfactual == run.question.counterfactual  # a blur with its radius
        else:
            assert item.counterfactual is UNSET
        opened_again = open_item(swept.folder, item.item)
        assert opened_again.question.counterfactual == run.question.counterfactual
    for line in lines(swept.folder):  # of the picture itself as ever
        assert ("against" in line) == ("counterfactual" in line) == bool(line.get("against"))


@pytest.mark.parametrize("size", [3, *(pytest.param(n, marks=pytest.mark.slow) for n in (2, 16))])
def test_no_batch_and_no_shared_vision_pass_changes_a_row(
    opened: Opened, photographs: Source, sweep: Sweeper, size: int
) -> None:
    loaded, asked = opened("qwen2_vl"), parse_against("none,noise-pure,black")
    alone = sweep(loaded, photographs, "1", batch_size=1, sharing=False, against=asked)
    assert alone.progress.done == 24
    for kind, different in (("", 6), ("black", 4), ("none", 2)):
        kept = {item.rows for item in alone.items.values() if item.instead == kind}
        assert len(kept) == different
    swept = sweep(loaded, photographs, f"{size}", batch_size=size, against=asked)
    alike(alone.items, swept.items)


def test_what_is_missing_is_asked(opened: Opened, photographs: Source, sweep: Sweeper) -> None:
    loaded = opened("llava")
    none, black = parse_against("none"), parse_against("black")
    assert sweep(loaded, photographs, limit=2).progress.done == 4
    assert sweep(loaded, photographs, limit=1, against=none).progress.done == 2
    swept = sweep(loaded, photographs, against=(*black, *none), limit=2)
    assert swept.progress.done == swept.progress.total == 6
    assert instead_of(swept.items) == {"": 4, "none": 4, "black": 4}
    swept = sweep(loaded, photographs)
    assert (swept.progress.done, len(swept.items)) == (2, 14)
    assert [each.name for each in read_sweep(swept.folder).against] == ["none", "black"]
    (file,) = swept.folder.glob("items-*.jsonl")
    kept = [line for line in file.read_bytes().splitlines(True) if b'"black"' not in line]
    file.write_bytes(b"".join(kept[:-1]) + kept[-1][:50])
    swept = sweep(loaded, photographs, against=(*none, *black))
    assert swept.progress.done == 6 + 1 + 2
    assert instead_of(swept.items) == {"": 6, "none": 6, "black": 6}
    whole = sweep(loaded, photographs, "whole", against=(*none, *black))
    alike(swept.items, whole.items)


def test_shards_have_all_of_a_picture(opened: Opened, photographs: Source, sweep: Sweeper) -> None:
    asked = parse_against("none,noise")
    for index in range(2):
        swept = sweep(opened("llava"), photographs, shard=(index, 2), against=asked)
    assert instead_of(swept.items) == {"": 6, "none": 6, "noise=500": 6}
    results = read_results(swept.folder)
    assert len(results.items) == 6
    assert all(None not in each.items for each in results.instead.values())


@pytest.mark.filterwarnings("ignore")  # the libraries' own, of their processors
@pytest.mark.parametrize("name", ["idefics", pytest.param("florence2", marks=pytest.mark.slow)])
def test_what_a_model_cannot_take_fails_alone(
    name: str, photographs: Source, tmp_path: Path, sweep: Sweeper
) -> None:
    FOLDERS[name](tmp_path / "model")
    asked = parse_against("none,unk-all,black")
    loaded = load(tmp_path / "model")
    swept = sweep(loaded, photographs, against=asked, batch_size=4)
    assert instead_of(swept.items) == {"": 6, "black": 6}
    failures = read_failures(swept.folder)
    assert Counter(failure.against for failure in failures) == {"none": 6, "unk-all": 6}
    for failure in failures:
        assert failure.error.startswith(f"{failure.against}: ")
        assert failure.item and failure.item not in swept.items
    assert "batches" not in swept.progress.notes or name != "idefics"
    assert sweep(loaded, photographs, against=asked).progress.total == 0
    again = sweep(loaded, photographs, against=asked, retry=True)
    assert again.progress.failed == 12 and again.progress.done == 0


@pytest.mark.parametrize(
    ("message", "tries"), [("a kernel has failed", 1), ("CUDA out of memory", 6)]
)
def test_what_fails_unexpectedly_is_not_tried_for_every_question(
    opened: Opened,
    photographs: Source,
    sweep: Sweeper,
    monkeypatch: pytest.MonkeyPatch,
    message: str,
    tries: int,
) -> None:
    """Memory alone may be there the next time."""
    tried = []

    def fail(*given: Any) -> None:
        tried.append(given)
        raise RuntimeError(message)

    monkeypatch.setattr(dividing, "refuse_where_a_picture_is_needed", fail)
    swept = sweep(opened("llava"), photographs, against=parse_against("none"), batch_size=2)
    assert instead_of(swept.items) == {"": 6, "none": 6} and not read_failures(swept.folder)
    assert len(tried) == tries


def test_a_pass_that_fails_with_one_counterfactual(
    opened: Opened, photographs: Source, sweep: Sweeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = Lens.read_batch

    def read_batch(self: Lens, inputs: Any, *rest: Any) -> Any:
        if "pixel_values" not in inputs:
            raise RuntimeError("a kernel has failed")
        return own(self, inputs, *rest)

    monkeypatch.setattr(Lens, "read_batch", read_batch)
    asked = parse_against("none,one")
    swept = sweep(opened("llava"), photographs, against=asked, batch_size=2)
    assert instead_of(swept.items) == {"": 6, "one": 6}
    failures = read_failures(swept.folder)
    assert Counter(failure.against for failure in failures) == {"none": 6}
    assert all("a kernel has failed" in failure.error for failure in failures)


def test_a_picture_that_is_gone_fails_with_everything(
    opened: Opened, photographs: Source, sweep: Sweeper
) -> None:
    (Path(photographs.path) / "1.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    swept = sweep(opened("llava"), photographs, against=parse_against("none"))
    assert instead_of(swept.items) == {"": 4, "none": 4}
    assert Counter(failure.against for failure in read_failures(swept.folder)) == {
        UNSET: 2,
        "none": 2,
    }


def test_another_picture_in_the_place_of_the_other_one(
    opened: Opened, photographs: Source, tmp_path: Path, sweep: Sweeper
) -> None:
    file = tmp_path / "other.png"
    Image.new("RGB", (24, 40), "red").save(file)
    swept = sweep(opened("llava"), photographs, against=replacements(f"other={file}"))
    (kind,) = {item.instead for item in swept.items.values()} - {""}
    item = next(item for item in swept.items.values() if item.instead == kind)
    assert item.counterfactual and item.counterfactual.parameters["width"] == 24
    Image.new("RGB", (24, 40), "blue").save(file)
    with pytest.raises(BadInput, match="another picture for other=") as caught:
        sweep(opened("llava"), photographs, against=replacements(f"other={file}"))
    assert Remedy.OTHER_FOLDER in caught.value.remedies


def test_a_counterfactual_that_the_sweep_has_not(
    opened: Opened, photographs: Source, sweep: Sweeper
) -> None:
    swept = sweep(opened("llava"), photographs, against=parse_against("none"))
    (file,) = swept.folder.glob("items-*.jsonl")
    file.write_text(file.read_text().replace('"against":"none"', '"against":"grey"'))
    with pytest.raises(BadInput, match="a counterfactual that the sweep has not"):
        read_results(swept.folder)


@pytest.mark.slow
def test_killed_and_taken_up_again(bundled: LoadedModel, tmp_path: Path, sweep: Sweeper) -> None:
    data, out = tmp_path / "data", tmp_path / "killed"
    write_clevr(data, 4)
    whole = program(
        arguments("--data", data, "--out", out, "--batch-size", "2", "--against", "none,noise")
    )
    for _ in range(3):
        process = subprocess.Popen(whole, cwd=tmp_path, env=CHILD, stderr=subprocess.DEVNULL)
        before = sum(1 for _ in read_items(out))
        deadline = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < deadline:
            if sum(1 for _ in read_items(out)) > before + 3:
                process.send_signal(signal.SIGKILL)
                break
            time.sleep(0.02)
        process.wait(60)
    done = ended(whole, tmp_path)
    assert done.returncode == 0, done.stderr
    items = {item.item: item for item in read_items(out)}
    assert len(lines(out)) == len(items) == 48
    asked = parse_against("none,noise")
    alike(items, sweep(bundled, data, batch_size=1, against=asked).items)
