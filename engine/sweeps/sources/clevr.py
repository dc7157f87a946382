"""Reads CLEVR (Johnson et al. 2017, arXiv 1612.06890).

As published, it has `images`, and `CLEVR_*_scenes.json` or `CLEVR_*_questions.json` or both for
each split; as its generator writes it, `CLEVR_scenes.json` or one file for every scene.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from msgspec import Struct

from engine.errors import BadInput
from engine.sweeps.sources.annotations import Kind, annotations_in, decoded, places_of
from engine.sweeps.sources.locating import PictureFiles
from engine.sweeps.sources.tasks import (
    PictureTasks,
    Prompt,
    Source,
    Task,
    listed,
    merged,
)
from engine.sweeps.words import counted
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
    split: str | None = None


class _Scenes(Struct):
    scenes: list[_Scene]


class _Question(Struct):
    image_filename: str
    question: str
    answer: str | int | float | bool | None = None
    question_family_index: int | None = None
    split: str | None = None


class _Questions(Struct):
    questions: list[_Question]


def scene_files(folder: Path) -> list[Path]:
    """The scene files as published, by whose names a folder is recognised as CLEVR."""
    return _found(folder, "CLEVR_*_scenes.json")


def question_files(folder: Path) -> list[Path]:
    """The question files as published."""
    return _found(folder, "CLEVR_*_questions.json")


def scenes_of(folder: Path, known: Mapping[Kind, Sequence[Path]]) -> list[Path]:
    """The files with a folder's scenes, given the annotations found in it: those with many scenes,
    else all files beside the one that has a single scene."""
    many = known.get("CLEVR scenes", ())
    if many:
        return list(many)
    folders = dict.fromkeys(file.parent for file in known.get("CLEVR scene", ()))
    return [
        file
        for each in folders
        for file in sorted(each.glob("*.json"))
        if not file.name.startswith(".")
    ]


def read_clevr(
    folder: Path, files: Sequence[Path], prompts: Sequence[Prompt], main: Main
) -> Source:
    """The questions about the scenes in some files whose pictures are in a folder.

    Without prompts these are the four of the study, whose truths are derived from the scenes by the
    rule `main`; otherwise `prompts`, which have a truth where they are one of the four. Raises
    BadInput, naming what is damaged.
    """
    pictures = []
    unnamed = 0
    for file in files:
        located: dict[str, PictureFiles] = {}
        for scene in _scenes_in(file):
            found = _picture(folder, file, "scenes", scene, located)
            if found is None:
                unnamed += 1
                continue
            tasks = _tasks_of(scene, prompts, main)
            pictures.append(PictureTasks(storable(found.relative_to(folder)), found, tasks))
    _refuse_nameless(files, pictures, unnamed)
    return listed("CLEVR", folder, merged(pictures), RULES[main], _unnamed(unnamed))


def read_questions(folder: Path, files: Sequence[Path], notes: tuple[str, ...] = ()) -> Source:
    """The data's own questions, whose answers, where there are any, are the truths."""
    pictures = []
    unnamed = 0
    for file in files:
        located: dict[str, PictureFiles] = {}
        for each in decoded(file, _Questions).questions:
            truth = None if each.answer is None else str(each.answer)
            task = Task(each.question, f"family {each.question_family_index}", truth)
            if each.question_family_index is None:
                task = Task(each.question, truth=truth)
            found = _picture(folder, file, "questions", each, located)
            if found is None or not each.question.strip():
                unnamed += 1
                continue
            pictures.append(PictureTasks(storable(found.relative_to(folder)), found, (task,)))
    _refuse_nameless(files, pictures, unnamed)
    return listed("CLEVR questions", folder, merged(pictures), notes=(*notes, *_unnamed(unnamed)))


def main_object(things: Sequence[_Thing], main: Main) -> _Thing | None:
    """The object that is asked about; None in an empty scene."""
    large = [thing for thing in things if thing.size == "large"]
    chosen = large if main == "largest" and large else things
    return min(chosen, key=lambda thing: thing.pixel_coords[2], default=None)


def own_question_files(folder: Path) -> list[Path]:
    """The files with a folder's own questions. Raises BadInput where it has none."""
    files = question_files(folder) or annotations_in(folder).get("CLEVR questions", [])
    if not files:
        raise BadInput(
            f"{folder}: no questions of its own in it (no CLEVR_*_questions.json, and no table)"
        )
    return files


def _scenes_in(file: Path) -> list[_Scene]:
    if file.name.endswith("_scenes.json") and file.name.startswith("CLEVR_"):
        return decoded(file, _Scenes).scenes
    found = decoded(file, _SceneOrScenes)
    if found.scenes is not None:
        return found.scenes
    if found.image_filename is None or found.objects is None:
        raise BadInput(f"{file}: not the expected annotations (neither a scene nor `scenes`)")
    return [_Scene(found.image_filename, found.objects, found.split)]


class _SceneOrScenes(Struct):
    scenes: list[_Scene] | None = None
    image_filename: str | None = None
    objects: list[_Thing] | None = None
    split: str | None = None


def _tasks_of(scene: _Scene, prompts: Sequence[Prompt], main: Main) -> tuple[Task, ...]:
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
    return tuple(asked or derived.values())


def _picture(
    folder: Path,
    file: Path,
    kind: str,
    named: _Scene | _Question,
    located: dict[str, PictureFiles],
) -> Path | None:
    """The picture of a scene or question: published data has it in `images/<split>/`, the generator
    in `images/`."""
    split = file.name.removeprefix("CLEVR_").removesuffix(f"_{kind}.json")
    if split == file.name or f"CLEVR_{split}_{kind}.json" != file.name:
        split = named.split or "."
        # It is a folder's name only where it can be no more than that.
        split = "." if ".." in split or "/" in split or "\0" in split else split
    if split not in located:
        first = (f"images/{split}", "images", ".")
        located[split] = PictureFiles(folder, places_of(folder, file, split, first))
    return located[split].file(named.image_filename)


def _refuse_nameless(files: Sequence[Path], pictures: Sequence[PictureTasks], unnamed: int) -> None:
    if unnamed and not pictures:
        raise BadInput(f"{files[0]}: none of its records has a usable file name and a question")


def _unnamed(count: int) -> tuple[str, ...]:
    if not count:
        return ()
    return (f"{counted(count, 'record')} without a usable file name or question left out",)


def _found(folder: Path, pattern: str) -> list[Path]:
    return sorted({*folder.glob(pattern), *folder.glob(f"scenes/{pattern}"),
                   *folder.glob(f"questions/{pattern}")})  # fmt: skip
