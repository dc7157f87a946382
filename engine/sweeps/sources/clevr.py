"""Reads CLEVR (Johnson et al. 2017, arXiv 1612.06890) as published: `images`,
`CLEVR_*_scenes.json`, and optionally `CLEVR_*_questions.json`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from msgspec import Struct

from engine.errors import BadInput
from engine.sweeps.sources.annotations import decoded, picture_file
from engine.sweeps.sources.tasks import (
    PictureTasks,
    Prompt,
    Source,
    Task,
    listed,
    merged,
)
from engine.system.files import storable

Main = Literal["largest", "nearest"]
# Sweeps record these texts and resume only under an equal one: rewording them breaks old folders.
RULES = {
    "largest": "main object: of the large ones (else of all) the nearest to the camera",
    "nearest": "main object: the nearest to the camera, whatever its size",
}
ASKED = {
    "color": "Color of the main object:",
    "shape": "Shape of the main object:",
    "material": "Material of the main object:",
    "number": "Number of main objects:",
}
NUMBERS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
)  # fmt: skip


class _Thing(Struct):
    color: str
    shape: str
    material: str
    size: str
    pixel_coords: tuple[float, float, float]
    """Column and row in pixels, and the distance from the camera."""


class _Scene(Struct):
    image_filename: str
    objects: list[_Thing]


class _Scenes(Struct):
    scenes: list[_Scene]


class _Question(Struct):
    image_filename: str
    question: str
    answer: str | None = None
    question_family_index: int | None = None


class _Questions(Struct):
    questions: list[_Question]


def scene_files(folder: Path) -> list[Path]:
    """The scene files, by which a folder is recognised as CLEVR."""
    return _found(folder, "CLEVR_*_scenes.json")


def read_clevr(folder: Path, prompts: Sequence[Prompt], main: Main, own_questions: bool) -> Source:
    """The questions of a CLEVR folder.

    Without prompts these are the four of the study, whose truths are derived from the scenes by the
    rule `main`; with `own_questions`, the data's own questions; otherwise `prompts`, which have a
    truth where they are one of the four. Raises BadInput, naming what is damaged.
    """
    if own_questions:
        return _own_questions(folder)
    pictures = []
    for file in scene_files(folder):
        scenes = decoded(file, _Scenes).scenes
        split = file.name.removeprefix("CLEVR_").removesuffix("_scenes.json")
        pictures += [_tasks_of(folder, split, scene, prompts, main) for scene in scenes]
    return listed("CLEVR", folder, merged(pictures), RULES[main])


def main_object(things: Sequence[_Thing], main: Main) -> _Thing | None:
    """The object that is asked about; None in an empty scene."""
    large = [thing for thing in things if thing.size == "large"]
    chosen = large if main == "largest" and large else things
    return min(chosen, key=lambda thing: thing.pixel_coords[2], default=None)


def _tasks_of(
    folder: Path, split: str, scene: _Scene, prompts: Sequence[Prompt], main: Main
) -> PictureTasks:
    thing = main_object(scene.objects, main)
    count = len(scene.objects)
    truths = {
        "color": thing.color if thing else "none",
        "shape": thing.shape if thing else "none",
        "material": thing.material if thing else "none",
        "number": NUMBERS[count] if count < len(NUMBERS) else str(count),
    }
    derived = {text: Task(text, attribute, truths[attribute]) for attribute, text in ASKED.items()}
    asked = [derived.get(prompt.text, Task(prompt.text, prompt.group)) for prompt in prompts]
    return _picture(folder, split, scene.image_filename, tuple(asked or derived.values()))


def _own_questions(folder: Path) -> Source:
    files = _found(folder, "CLEVR_*_questions.json")
    if not files:
        raise BadInput(f"{folder}: no CLEVR_*_questions.json in it")
    pictures = []
    for file in files:
        split = file.name.removeprefix("CLEVR_").removesuffix("_questions.json")
        for each in decoded(file, _Questions).questions:
            task = Task(each.question, f"family {each.question_family_index}", each.answer)
            if each.question_family_index is None:
                task = Task(each.question, truth=each.answer)
            pictures.append(_picture(folder, split, each.image_filename, (task,)))
    return listed("CLEVR questions", folder, merged(pictures))


def _picture(folder: Path, split: str, name: str, tasks: tuple[Task, ...]) -> PictureTasks:
    """A picture; published data has it in `images/<split>/`, small copies in `images/` or above."""
    places = (f"images/{split}", "images", ".")
    file = picture_file(folder, places, name)
    return PictureTasks(storable(file.relative_to(folder)), file, tasks)


def _found(folder: Path, pattern: str) -> list[Path]:
    return sorted({*folder.glob(pattern), *folder.glob(f"scenes/{pattern}"),
                   *folder.glob(f"questions/{pattern}")})  # fmt: skip
