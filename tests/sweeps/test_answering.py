"""Whole answers in sweeps: decoded for each question alone, stored together, never mixed."""

from __future__ import annotations

import csv
import json
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Any

import pytest
import torch
from msgspec import UNSET, structs
from PIL import Image

from engine.asking.drawing import DrawnAnswer, draw_answers
from engine.counterfactuals.grammar import parse_against
from engine.errors import BadInput
from engine.lens.decoding_settings import DecodingSettings
from engine.models.loading import LoadedModel
from engine.pictures.opening import open_picture
from engine.prompts.preparing import prepare
from engine.records import Question
from engine.sweeps import answering
from engine.sweeps.answering import seed_of
from engine.sweeps.decoded import answers_of
from engine.sweeps.records import DecodedAnswers, SweepItem
from engine.sweeps.results import read_results
from engine.sweeps.settings import decoding_of
from engine.sweeps.sources.opening import open_source
from engine.sweeps.sources.tasks import Prompt
from engine.sweeps.store import count_failures, read_failures, read_items, read_sweep
from samples.making.clevr import write_clevr
from tests.sweeps.builders import picture
from tests.sweeps.conftest import Sweeper, Swept, sweeper
from tests.sweeps.test_running import CHILD
from tui.cli import main

READS = ("answer",)
DECODING = decoding_of({"max_new_tokens": "2", "draws": "2"}, ["temperature=0.5|40"])
WORDS = ("red", "blue", "yes", "no", "Nothing", "I know")


def drawn(
    loaded: LoadedModel,
    inputs: dict[str, Any],
    settings: DecodingSettings,
    draws: int,
) -> tuple[DrawnAnswer, ...]:
    """Answers that depend on nothing but the settings, as quick as can be."""
    chosen = [random.Random(settings.seed + n).choice(WORDS) for n in range(draws)]
    return tuple(DrawnAnswer((1, 2), f" {word}.", settings.samples) for word in chosen)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answering, "draw_answers", drawn)


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two scenes with four questions each."""
    folder = tmp_path_factory.mktemp("few")
    write_clevr(folder, 2)
    return folder


@pytest.fixture(scope="module")
def whole(bundled: LoadedModel, few: Path, tmp_path_factory: pytest.TempPathFactory) -> Swept:
    """Quick answers to these questions; not to be changed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(answering, "draw_answers", drawn)
        run = sweeper(tmp_path_factory.mktemp("whole"))
        return run(bundled, few, reads=READS, decoding=DECODING)


def answers(item: SweepItem) -> DecodedAnswers:
    found = answers_of(item)
    assert found is not None
    return found


def texts(items: dict[str, SweepItem]) -> dict[str, DecodedAnswers]:
    return {name: answers(item) for name, item in items.items()}


def test_answers_are_those_of_each_question_alone(
    bundled: LoadedModel, tmp_path: Path, sweep: Sweeper
) -> None:
    """In a batch of four rows; the answers are not batched, and share the seeds of nobody."""
    data = tmp_path / "data"
    write_clevr(data, 1)
    swept = sweep(bundled, data, reads=READS, decoding=DECODING, batch_size=4)
    assert (swept.progress.done, swept.progress.failed) == (4, 0)
    record = read_sweep(swept.folder)
    assert (record.reads, record.decoding) == (READS, DECODING)
    for item in swept.items.values():
        found = answers(item)
        assert [each.setting for each in found.settings] == [
            "greedy", "temperature=0.5", "temperature=40",
        ]  # fmt: skip
        assert [len(each.answers) for each in found.settings] == [1, 2, 2]
        (greedy,) = found.settings[0].answers
        assert greedy.text.startswith(item.rows[-1].top[0].text)
        assert greedy.matched == item.truth  # the bundled model knows these
        assert item.seconds.keys() == {"pass", "answers"}
    item = list(swept.items.values())[-1]
    assert item.picture is not None
    image = open_picture(data / item.picture.path).image
    inputs = prepare(bundled.model, bundled.processor, Question(prompt=item.prompt), image).inputs
    for settings, of in zip(DECODING.settings, answers(item).settings, strict=True):
        seeded = structs.replace(settings, seed=seed_of(item.item, settings.seed))
        alone = draw_answers(bundled, inputs, seeded, len(of.answers))
        assert [(each.text, len(each.ids), each.ended) for each in alone] == [
            (each.text, each.tokens, each.ended) for each in of.answers
        ]


def test_an_answer_that_is_interrupted_ends_at_its_next_token(
    bundled: LoadedModel, red_picture: Path
) -> None:
    """Whoever waits for it is interrupted while it is being decoded, in another thread."""
    image = open_picture(red_picture).image
    inputs = prepare(bundled.model, bundled.processor, Question(prompt="A?"), image).inputs
    took: list[int] = []
    handled = Event()

    def interrupt(*_: object) -> None:
        took.append(len(took))
        if len(took) == 3:
            signal.raise_signal(signal.SIGALRM)
            assert handled.wait(60)

    def interrupted(*_: object) -> None:
        handled.set()
        raise KeyboardInterrupt

    hook = bundled.model.get_output_embeddings().register_forward_hook(interrupt)
    before = signal.signal(signal.SIGALRM, interrupted)
    try:
        with pytest.raises(KeyboardInterrupt):
            draw_answers(bundled, inputs, DecodingSettings(max_new_tokens=200, temperature=500.0))
    finally:
        signal.signal(signal.SIGALRM, before)
        hook.remove()
    assert 3 <= len(took) < 50  # and not 200


def test_rows_are_those_without_answers(
    bundled: LoadedModel, few: Path, whole: Swept, sweep: Sweeper
) -> None:
    plain = sweep(bundled, few, limit=1)
    assert len(plain.items) == 4 and plain.items.keys() < whole.items.keys()
    for name, own in plain.items.items():
        item = structs.replace(whole.items[name], readings=UNSET, seconds={})
        assert item == structs.replace(own, seconds={})
    assert all(item.readings is UNSET for item in plain.items.values())


@pytest.mark.usefixtures("quick")
def test_batches_and_shards_change_no_answer(
    bundled: LoadedModel, few: Path, whole: Swept, sweep: Sweeper
) -> None:
    said = {answer.text for each in texts(whole.items).values()
            for of in each.settings for answer in of.answers}  # fmt: skip
    assert len(said) > 3  # not one seed for all
    for shard in (0, 1):
        parts = sweep(
            bundled, few, "parts", (shard, 2), reads=READS, decoding=DECODING, batch_size=1
        )
    assert texts(parts.items) == texts(whole.items)


@pytest.mark.usefixtures("quick")
def test_interrupted_and_taken_up_again(
    bundled: LoadedModel,
    few: Path,
    whole: Swept,
    sweep: Sweeper,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In the middle of a question: what it has so far is lost, and no other question."""
    asked = 0

    def ended(*given: Any) -> tuple[DrawnAnswer, ...]:
        nonlocal asked
        asked += 1
        if asked == 3 * 5 + 2:  # the second answer of the sixth question
            raise KeyboardInterrupt
        return drawn(*given)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(answering, "draw_answers", ended)
        sweep(bundled, few, reads=READS, decoding=DECODING, batch_size=4)
    folder = tmp_path / "out"
    (file,) = folder.glob("items-*.jsonl")
    assert len([*read_items(folder)]) == 5 and asked == 17
    with file.open("ab") as stream:
        stream.write(file.read_bytes().splitlines()[0][:500])  # a torn line
    for changes, says in (
        ({"draws": 3}, "another number of draws: it was 2, and is 3"),
        ({"settings": DECODING.settings[:2]}, r"settings: it was \[temperature=40\], and is with"),
        (
            {"settings": decoding_of({"max_new_tokens": "3"}, ["temperature=0.5|40"]).settings},
            "another limit of new tokens: it was 2, and is 3",
        ),
    ):
        with pytest.raises(BadInput, match=says):
            sweep(bundled, few, reads=READS, decoding=structs.replace(DECODING, **changes))
    with pytest.raises(BadInput, match="another set of readings: it was answer, and is none"):
        sweep(bundled, few)
    again = sweep(bundled, few, reads=READS, decoding=DECODING)
    assert again.progress.done == 3
    assert texts(again.items) == texts(whole.items)
    assert len(file.read_bytes().splitlines()) == 8


@pytest.mark.usefixtures("quick")
def test_a_failed_answer_is_a_failure_of_its_question(
    bundled: LoadedModel, few: Path, sweep: Sweeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = 0

    def failing(*given: Any) -> tuple[DrawnAnswer, ...]:
        nonlocal asked
        asked += 1
        if asked == 4:
            raise torch.OutOfMemoryError("once")  # there is enough the second time
        if asked in (6, 9):
            raise ValueError("a model may raise anything")
        return drawn(*given)

    with monkeypatch.context() as patch:
        patch.setattr(answering, "draw_answers", failing)
        swept = sweep(bundled, few, reads=READS, decoding=DECODING)
    assert (swept.progress.done, swept.progress.failed) == (6, 2)
    first, second = read_failures(swept.folder)
    assert first.error.startswith("its answer (temperature=0.5) cannot be decoded: ")
    assert "a model may raise anything" in first.error and first.item not in swept.items
    assert second.error.startswith("its answer (")
    again = sweep(bundled, few, reads=READS, decoding=DECODING, retry=True)
    assert (again.progress.done, len(again.items)) == (2, 8)
    assert count_failures(again.folder) == (0, 0)


@pytest.mark.usefixtures("quick")
def test_pictures_of_one_content_are_answered_once(
    bundled: LoadedModel, tmp_path: Path, sweep: Sweeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.png", "b.png"):
        picture(tmp_path / "data" / name)
    table = tmp_path / "data" / "table.jsonl"
    lines = [
        {"image": name, "question": "Is it red?", "answer": "yes", "answers": ["yes"] * 10}
        for name in ("a.png", "b.png")
    ]
    table.write_text("".join(json.dumps(line) + "\n" for line in lines))
    asked = []

    def counted(*given: Any) -> tuple[DrawnAnswer, ...]:
        asked.append(given)
        return drawn(*given)

    monkeypatch.setattr(answering, "draw_answers", counted)
    swept = sweep(bundled, table, reads=READS, decoding=DECODING)
    assert (swept.progress.done, swept.progress.duplicates, len(asked)) == (1, 1, 3)
    (item,) = swept.items.values()
    assert answers(item).given == ("yes",) * 10
    decoded = read_results(swept.folder).decoded
    assert decoded is not None and not (decoded.soft != decoded.said_yes).any()


def test_what_no_sweep_has_written(whole: Swept, tmp_path: Path) -> None:
    folder = shutil.copytree(whole.folder, tmp_path / "out")
    (file,) = folder.glob("items-*.jsonl")
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    (reading,) = lines[1]["readings"]
    settings = reading["settings"]
    twice = [{**of, "answers": of["answers"] * 2} for of in settings]
    for changed, says in (
        (settings[:2], "other settings than the sweep"),
        (settings[::-1], "other settings than the sweep"),
        (twice, "another number of answers"),
    ):
        lines[1]["readings"] = [{**reading, "settings": changed}]
        file.write_text("".join(json.dumps(line) + "\n" for line in lines))
        with pytest.raises(BadInput, match=says):
            read_results(folder)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["qwen2_vl", "llava"])
def test_padding_and_counterfactuals_change_no_answer(
    opened: Callable[[str], LoadedModel], tmp_path: Path, sweep: Sweeper, name: str
) -> None:
    """Prompts of unequal length, which a batch of answers would have to pad."""
    loaded = opened(name)
    (tmp_path / "data").mkdir()
    for index, size in enumerate([(40, 24), (24, 40)]):
        Image.effect_noise(size, 90).convert("RGB").save(tmp_path / "data" / f"{index}.png")
    source = open_source(tmp_path / "data", [Prompt("A?", "a"), Prompt("What is it, then?", "b")])
    against = parse_against("black")
    many = sweep(
        loaded, source, "many", reads=READS, decoding=DECODING, against=against, batch_size=8
    )
    one = sweep(
        loaded, source, "one", reads=READS, decoding=DECODING, against=against, batch_size=1
    )
    assert len(many.items) == 8 and not many.progress.failed
    assert texts(many.items) == texts(one.items)
    assert len({item.instead for item in many.items.values()}) == 2


@pytest.mark.slow
def test_killed_and_taken_up_again_from_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    data, out = tmp_path / "data", tmp_path / "killed"
    write_clevr(data, 3)
    given = [
        "sweep", "--data", str(data), "--read", "answer:max_new_tokens=3,draws=2",
        "--settings", "temperature=0.5|2", "--device", "cpu",
    ]  # fmt: skip
    whole = [*given, "--out", str(out)]
    process = subprocess.Popen(
        [sys.executable, "-m", "tui", *whole], cwd=tmp_path, env=CHILD, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        if sum(1 for _ in read_items(out)) > 3:
            process.send_signal(signal.SIGKILL)
            break
        time.sleep(0.02)
    process.wait(60)
    assert 3 < len([*read_items(out)]) < 12
    assert main(whole) == 0
    assert main([*given, "--out", str(tmp_path / "whole")]) == 0
    both = [
        {item.item: item for item in read_items(tmp_path / name)} for name in ("killed", "whole")
    ]
    assert len(both[0]) == 12 and texts(both[0]) == texts(both[1])
    assert (
        main(["report", str(out), "--samples", "20", "--export", "csv", "--figures", "none"]) == 0
    )
    with (out / "report" / "answers.csv").open() as stream:
        lines = [*csv.DictReader(stream)]
    assert len(lines) == 12 * 5
    greedy = [line for line in lines if line["setting"] == "greedy"]
    assert {line["right"] for line in greedy} == {"True"}
