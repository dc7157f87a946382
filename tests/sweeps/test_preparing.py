"""Inputs made in other processes, or in turn: those that `prepare` makes of each question alone."""

from __future__ import annotations

import copy
import multiprocessing
import os
import pickle
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest
import torch
from msgspec import structs
from PIL import Image

import samples
from engine import load
from engine.errors import BadInput, CannotRead
from engine.models.loading import LoadedModel
from engine.passes.vision_reuse import same
from engine.pictures.opening import open_picture
from engine.prompts.preparing import prepare
from engine.records import Question
from engine.sweeps.composing import Composing
from engine.sweeps.preparing import (
    PreparedPicture,
    PreparedTask,
    Preparing,
    _packed,
    decoded,
    worker_count,
)
from engine.sweeps.sources.opening import open_source
from engine.sweeps.sources.tasks import PictureTasks, Task

Opened = Callable[[str], LoadedModel]
forks = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
"""From Python 3.12 on it warns where there are other threads."""
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


@forks
@pytest.mark.parametrize("workers", [0, 1, 3])
@pytest.mark.parametrize("name", ["llava", "qwen2_vl", "bundled", "bundled in bfloat16"])
def test_inputs_are_those_of_each_question_alone(
    opened: Opened, bundled: LoadedModel, pictures: list[PictureTasks], name: str, workers: int
) -> None:
    loaded = opened(name) if "bundled" not in name else bundled
    if "bfloat16" in name:
        loaded = load(samples.MODEL, dtype="bfloat16")
    question = Question(prompt="", prefix="It is")
    found = list(Preparing(loaded, question, workers).pictures(pictures))
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
                assert each.inputs[key].dtype == value.dtype
        first, *others = (each.inputs for each in made.tasks)
        pixels = [key for key, value in first.items() if value.is_floating_point()]
        # One tensor, so that a later pass need not compare.
        assert pixels and all(other[key] is first[key] for other in others for key in pixels)


class Watched:
    """The image processor or the tokenizer of a processor, whose calls are counted."""

    def __init__(self, inner: Any, spoils: bool = False) -> None:
        self.__dict__.update(inner=inner, calls=0, spoils=spoils)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["inner"], name)

    def __call__(self, *args: Any, **settings: Any) -> Any:
        self.__dict__["calls"] += 1
        found = self.__dict__["inner"](*args, **settings)
        if self.__dict__["spoils"]:
            found["what"] = object()
        return found


def test_known_prompts_need_only_the_image_processor(
    bundled: LoadedModel, pictures: list[PictureTasks]
) -> None:
    processor = copy.copy(bundled.processor)
    own = processor.image_processor
    processor.image_processor = watched = Watched(own)
    preparing = Preparing(replace(bundled, processor=processor), Question(prompt=""))
    processed: list[str] = []
    process = preparing._processed

    def counted(prompt: str, image: Image.Image) -> dict[str, Any]:
        processed.append(prompt)
        return process(prompt, image)

    preparing._processed = counted  # type: ignore[method-assign]
    list(preparing.pictures(pictures))
    # Two prompts, once for each of three sizes; each picture is processed once.
    assert sorted(processed) == sorted(3 * ["Colour?", "What shape is it, please?"])
    assert watched.calls == 5
    assert processor.image_processor is watched  # the model's own processor stays as it was


def test_what_cannot_be_recognised_again_is_processed_again(
    bundled: LoadedModel, pictures: list[PictureTasks]
) -> None:
    dtype = bundled.model.dtype
    processor = copy.copy(bundled.processor)
    processor.image_processor = Watched(processor.image_processor, spoils=True)
    composing = Composing(processor, dtype)
    image = Image.new("RGB", (40, 24))
    text = "<image>Colour?"
    for _ in range(2):
        inputs = dict(composing.processor(text=[text], images=[image], return_tensors="pt"))
        inputs.pop("what", None)
        composing.learn("Colour?", image, inputs)
        assert composing.inputs("Colour?", image) is None
    # What a processor changes in the picture's tensors is not composed either.
    composing = Composing(bundled.processor, dtype)
    inputs = dict(composing.processor(text=[text], images=[image], return_tensors="pt"))
    composing.learn("Colour?", image, {**inputs, "pixel_values": inputs["pixel_values"] + 1.0})
    assert composing.inputs("Colour?", Image.new("RGB", (40, 24))) is None
    composing.learn("Colour?", image, inputs)
    assert composing.inputs("Colour?", Image.new("RGB", (40, 24))) is not None
    assert composing.inputs("Colour?", Image.new("RGB", (41, 24))) is None
    assert composing.inputs("Shape?", image) is None


@forks
def test_a_prompt_that_cannot_be_asked_fails_alone(
    opened: Opened, pictures: list[PictureTasks]
) -> None:
    tasks = (Task("Colour?"), Task("<image> and <image>?"), Task("Shape?"))
    wanted = [PictureTasks(each.path, each.file, tasks) for each in pictures]
    found = list(Preparing(opened("llava"), Question(prompt=""), 2).pictures(wanted))
    for made in found:
        if made.sha256:
            assert [each.task.prompt for each in made.tasks] == ["Colour?", "Shape?"]
            ((task, error),) = made.failed
            assert task == tasks[1] and "<image>" in error


def test_addresses_in_a_table_are_named_or_followed(tmp_path: Path) -> None:
    Image.new("RGB", (4, 3)).save(tmp_path / "a b.png")
    table = tmp_path / "table.csv"
    here = (tmp_path / "a b.png").as_uri()
    table.write_text(f"picture,prompt\nhttps://example.org/a.png,What?\n{here},What?\n")
    there, local = open_source(table).pictures
    with pytest.raises(
        BadInput, match=r"https://example\.org/a\.png: an address, which is not opened"
    ):
        decoded(there)
    assert decoded(local).image.size == (4, 3)


@forks
def test_no_more_is_made_ahead_than_is_wanted(opened: Opened, pictures: list[PictureTasks]) -> None:
    taken: list[str] = []

    def watched() -> Iterator[PictureTasks]:
        for picture in pictures * 4:
            taken.append(picture.path)
            yield picture

    preparing = Preparing(opened("llava"), Question(prompt=""), 2)
    with closing(preparing.pictures(watched(), lambda picture: 4)) as made:
        for count in range(1, 6):
            next(made)
            assert len(taken) <= count + 4


@forks
@pytest.mark.parametrize("moment", [0.0, 0.001, 0.003, 0.01, 0.03])
def test_a_worker_that_is_killed_ends_it_in_one_line(
    opened: Opened, pictures: list[PictureTasks], moment: float
) -> None:
    preparing = Preparing(opened("llava"), Question(prompt=""), 2)

    def endless() -> Iterator[PictureTasks]:
        while True:
            yield from pictures

    with closing(preparing), closing(preparing.pictures(endless(), lambda picture: 6)) as made:
        for _ in range(4):
            next(made)
        time.sleep(moment)
        worker = multiprocessing.active_children()[0]
        assert worker.pid is not None
        os.kill(worker.pid, signal.SIGKILL)
        for _ in range(20):  # a pass: it is not disturbed
            time.sleep(0.005)
        with pytest.raises(CannotRead, match="was ended from outside") as why:
            for _ in range(50):
                next(made)
    assert str(why.value).endswith("the same command resumes") and "\n" not in str(why.value)
    assert not multiprocessing.active_children()


class Odd(NamedTuple):
    """What a processor might give."""

    kind: str
    inputs: dict[str, Any]


ODD = [
    Odd("strided", {"ids": torch.arange(12)[::3], "wide": torch.zeros(4, 6)[:, ::2]}),
    Odd("one for all", {"mask": torch.ones(1).expand(7)}),
    Odd("no dimension", {"scale": torch.tensor(2.5, dtype=torch.bfloat16)}),
    Odd("empty", {"none": torch.zeros(0, 3, dtype=torch.bool)}),
    Odd("in a list", {"pixels": [torch.zeros(2), {"more": torch.ones(3, dtype=torch.float16)}]}),
]


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: odd.kind)
def test_whatever_a_processor_gives_comes_through(odd: Odd) -> None:
    task = PreparedTask(TASKS[0], odd.inputs)
    picture = PreparedPicture("a.png", "0" * 64, (task, task), ())
    first, second = pickle.loads(_packed(picture)).tasks
    assert first is second and same(first.inputs, odd.inputs)
    assert not any(value.is_shared() for value in tensors_of(first.inputs))


def tensors_of(value: Any) -> list[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [tensor for each in inner for tensor in tensors_of(each)]


@forks
@pytest.mark.parametrize("raises", [False, True])
def test_what_a_worker_cannot_send_is_a_failure(
    opened: Opened, pictures: list[PictureTasks], monkeypatch: pytest.MonkeyPatch, raises: bool
) -> None:
    own = Preparing.prepared

    def prepared(self: Preparing, picture: PictureTasks) -> PreparedPicture:
        if picture.path == "3.png":
            if raises:
                raise RuntimeError("a processor's surprise")
            inputs = {"forward": lambda: None}
            return PreparedPicture(picture.path, "0" * 64, (PreparedTask(TASKS[0], inputs),), ())
        return own(self, picture)

    monkeypatch.setattr(Preparing, "prepared", prepared)
    found = list(Preparing(opened("llava"), Question(prompt=""), 2).pictures(pictures))
    assert [each.path for each in found] == [each.path for each in pictures]
    (bad,) = (each for each in found if each.path == "3.png")
    assert not bad.tasks and [task for task, _ in bad.failed] == list(TASKS)
    assert all(reason.startswith("it cannot be prepared: ") for _, reason in bad.failed)


@forks
def test_a_source_that_breaks_is_not_taken_for_a_worker(
    opened: Opened, pictures: list[PictureTasks]
) -> None:
    def broken() -> Iterator[PictureTasks]:
        yield from pictures
        raise BadInput("row 7 cannot be read")

    made = Preparing(opened("llava"), Question(prompt=""), 1).pictures(broken(), lambda picture: 2)
    with pytest.raises(BadInput, match="row 7"):
        list(made)


def forgotten(loaded: LoadedModel, pids: Connection) -> None:
    """A process that has made workers, and never ends by itself."""
    picture = PictureTasks("a", samples.DEFAULT_PICTURE, (Task("Colour?"),))
    made = Preparing(loaded, Question(prompt=""), 2).pictures([picture] * 1000, lambda picture: 50)
    next(made), next(made)
    pids.send([worker.pid for worker in multiprocessing.active_children()])
    time.sleep(600)


@forks
def test_workers_go_with_the_process_that_is_killed(opened: Opened) -> None:
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(
        target=forgotten, args=(opened("llava"), theirs)
    )
    process.start()
    try:
        assert ours.poll(60)
        workers = ours.recv()
        assert len(workers) == 2 and all(map(psutil.pid_exists, workers))
    finally:
        process.kill()
        process.join()
    deadline = time.monotonic() + 20
    while any(map(running, workers)):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def running(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def test_workers_only_where_the_passes_leave_cores_free(monkeypatch: pytest.MonkeyPatch) -> None:
    assert worker_count(torch.device("cpu")) == 0
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(6)))
    assert worker_count(torch.device("cuda", 0)) == 5
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "3")
    assert worker_count(torch.device("cuda", 0)) == 1
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(256)))
    assert worker_count(torch.device("cuda", 0)) == 8
