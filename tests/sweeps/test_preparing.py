"""Inputs made ahead in threads, or in turn: those that `prepare` makes of each question alone."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from msgspec import structs
from PIL import Image

from engine.loading import Loaded
from engine.pictures import open_picture
from engine.prompts import prepare
from engine.records import Question
from engine.sweeps.preparing import Preparing
from engine.sweeps.sources.tasks import PictureTasks, Task

Opened = Callable[[str], Loaded]
TASKS = (Task("Colour?"), Task("What shape is it, please?"), Task("Colour?", "again"))


@pytest.fixture
def pictures(tmp_path: Path) -> list[PictureTasks]:
    """Of three sizes, some of them twice; one cannot be read."""
    found = []
    for index, size in enumerate([(40, 24), (24, 40), (40, 24), (60, 60), (24, 40)]):
        file = tmp_path / f"{index}.png"
        Image.effect_noise(size, 90).convert("RGB").save(file)
        found.append(PictureTasks(file.name, file, TASKS))
    found.insert(2, PictureTasks("gone.png", tmp_path / "gone.png", TASKS))
    return found


@pytest.mark.parametrize("ahead", [0, 1, 3, 50])
@pytest.mark.parametrize("name", ["llava", "qwen2_vl", "bundled"])
def test_inputs_are_those_of_each_question_alone(
    opened: Opened, bundled: Loaded, pictures: list[PictureTasks], name: str, ahead: int
) -> None:
    loaded = bundled if name == "bundled" else opened(name)
    question = Question(prompt="", prefix="It is")
    preparing = Preparing(loaded, question, lambda: ahead)
    try:
        found = list(preparing.pictures(pictures))
    finally:
        preparing.close()
    assert [each.path for each in found] == [each.path for each in pictures]
    for made, wanted in zip(found, pictures, strict=True):
        if made.path == "gone.png":
            assert not made.tasks and not made.sha256
            assert [task for task, _ in made.failed] == list(TASKS)
            continue
        assert [each.task for each in made.tasks] == list(TASKS)
        assert wanted.file is not None
        picture = open_picture(wanted.file)
        assert made.sha256 == picture.record.sha256
        for each in made.tasks:
            asked = structs.replace(question, prompt=each.task.prompt)
            alone = prepare(loaded.model, loaded.processor, asked, picture.image).inputs
            assert each.inputs.keys() == alone.keys()
            for key, value in alone.items():
                assert torch.equal(each.inputs[key], value), key


def test_a_prompt_that_cannot_be_asked_fails_alone(
    opened: Opened, pictures: list[PictureTasks]
) -> None:
    tasks = (Task("Colour?"), Task("<image> and <image>?"), Task("Shape?"))
    wanted = [PictureTasks(each.path, each.file, tasks) for each in pictures]
    preparing = Preparing(opened("llava"), Question(prompt=""), lambda: 2)
    found = list(preparing.pictures(wanted))
    preparing.close()
    for made in found:
        if made.sha256:
            assert [each.task.prompt for each in made.tasks] == ["Colour?", "Shape?"]
            ((task, error),) = made.failed
            assert task == tasks[1] and "<image>" in error


def test_no_more_is_made_ahead_than_is_wanted(opened: Opened, pictures: list[PictureTasks]) -> None:
    taken: list[str] = []

    def watched() -> object:
        for picture in pictures * 4:
            taken.append(picture.path)
            yield picture

    preparing = Preparing(opened("llava"), Question(prompt=""), lambda: 3)
    made = preparing.pictures(watched())  # type: ignore[arg-type]
    for count in range(1, 6):
        next(made)
        time.sleep(0.02)
        assert len(taken) <= count + 4
    preparing.close()
