"""Reads COCO (Lin et al. 2014, arXiv 1405.0312) as published, and as annotation tools write it.

The tools agree on `images`, `annotations` and `categories`, not on files' names or types of values.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from msgspec import Struct

from engine.errors import BadInput
from engine.sweeps.sources.annotations import decoded, places_of
from engine.sweeps.sources.locating import PictureFiles
from engine.sweeps.sources.tasks import (
    PictureTasks,
    Prompt,
    Source,
    Task,
    asked_of_all,
    listed,
    merged,
)
from engine.sweeps.words import counted
from engine.system.files import storable

MAIN_OBJECT = "Main object:"
MAIN_ANIMAL = "Main animal:"
RULE = (
    "main object: the category of the largest instance by area, crowds left out; "
    "main animal: the same among animals, or none"
)
PREFIXES = ("instances_", "captions_", "person_keypoints_", "image_info_", "panoptic_", "stuff_")


class _Image(Struct):
    id: Any = None
    file_name: Any = None


class _Instance(Struct):
    image_id: Any = None
    category_id: Any = None
    area: Any = None
    bbox: Any = None
    iscrowd: Any = None
    segments_info: Any = None
    """Of panoptic annotations, which have the instances of a picture in one record."""


class _Category(Struct):
    id: Any = None
    name: Any = None
    supercategory: Any = None


class _Annotations(Struct):
    images: list[_Image]
    annotations: list[_Instance] | None = None
    categories: list[_Category] | None = None


@dataclass
class _Passed:
    """What of the annotations was passed over."""

    unnamed: int = 0
    unsized: int = 0
    no_animals: int = 0

    def notes(self) -> tuple[str, ...]:
        found = []
        if self.unnamed:
            found.append(f"{counted(self.unnamed, 'picture')} without a usable file name left out")
        if self.unsized:
            found.append(
                f"{counted(self.unsized, 'picture')} with instances of which neither area nor box "
                "is known: which one is the largest is not known there, so no truth is"
            )
        if self.no_animals:
            found.append(
                f"no category is told to be an animal (its supercategory): the true answer to "
                f"`{MAIN_ANIMAL}` is none in every picture"
            )
        return tuple(found)


def annotation_files(folder: Path) -> list[Path]:
    """The annotation files as published (instances or else captions)."""
    for pattern in ("instances_*.json", "captions_*.json"):
        found = sorted({*folder.glob(pattern), *folder.glob(f"annotations/{pattern}")})
        if found:
            return found
    return []


def read_coco(folder: Path, files: Sequence[Path], prompts: Sequence[Prompt]) -> Source:
    """The questions of annotation files whose pictures are in a folder.

    Without prompts these ask for the main object and the main animal, whose truths are derived from
    the instances; otherwise they are `prompts`, which have a truth where they are one of the two.
    Files without instances, such as captions, need prompts. Raises BadInput, naming the damage.
    """
    pictures: list[PictureTasks] = []
    passed = _Passed()
    for file in files:
        found = decoded(file, _Annotations)
        split = _split_of(file)
        places = places_of(folder, file, split, (split, f"images/{split}", "images", "."))
        located = PictureFiles(folder, places)
        instances = _instances(found)
        # Captions have annotations, too, but nothing in them has a category.
        known = (
            found.categories is not None
            and found.annotations is not None
            and (bool(instances) or not found.annotations)
        )
        truths = _truths(found, instances, passed) if known else {}
        for image in found.images:
            picture = located.file(image.file_name) if isinstance(image.file_name, str) else None
            if picture is None:
                passed.unnamed += 1
                continue
            tasks = (
                _tasks(prompts, truths.get(_key(image.id), {MAIN_ANIMAL: "none"}))
                if known
                else asked_of_all(prompts)
            )
            pictures.append(PictureTasks(storable(picture.relative_to(folder)), picture, tasks))
    if not pictures and passed.unnamed:
        raise BadInput(f"{files[0]}: none of its images has a `file_name`")
    return listed("COCO", folder, merged(pictures), RULE, passed.notes())


def _split_of(file: Path) -> str:
    """The split that a file's name tells, by which published pictures have their folder."""
    name = file.stem
    for prefix in PREFIXES:
        if name.startswith(prefix):
            return name.removeprefix(prefix)
    return name


def _tasks(prompts: Sequence[Prompt], derived: Mapping[str, str | None]) -> tuple[Task, ...]:
    asked = [(prompt.text, prompt.group) for prompt in prompts] or [(text, "") for text in derived]
    return tuple(_task(text, group, derived) for text, group in asked)


def _task(text: str, group: str, truths: Mapping[str, str | None]) -> Task:
    names = {MAIN_OBJECT: "object", MAIN_ANIMAL: "animal"}
    if text in truths:
        return Task(text, names[text], truths[text])
    return Task(text, names.get(text, group))


def _instances(found: _Annotations) -> list[_Instance]:
    """All instances that have a category, those of panoptic annotations among them."""
    instances: list[_Instance] = []
    for each in found.annotations or ():
        if isinstance(each.segments_info, list):
            for segment in each.segments_info:
                if isinstance(segment, dict):
                    kept = ("category_id", "area", "bbox", "iscrowd")
                    values = {name: segment.get(name) for name in kept}
                    instances.append(_Instance(image_id=each.image_id, **values))
        else:
            instances.append(each)
    return [each for each in instances if each.category_id is not None]


def _truths(
    found: _Annotations, instances: Sequence[_Instance], passed: _Passed
) -> dict[Any, dict[str, str | None]]:
    """From the id of an image to a prompt to its truth."""
    names = {_key(each.id): str(each.name) for each in found.categories or () if each.name}
    animals = {
        _key(each.id)
        for each in found.categories or ()
        if isinstance(each.supercategory, str) and each.supercategory.strip().lower() == "animal"
    }
    largest: dict[Any, tuple[float, Any]] = {}
    animal: dict[Any, tuple[float, Any]] = {}
    unknown: dict[Any, set[Any]] = {}
    """The categories in pictures of which an instance has no size."""
    for instance in instances:
        image, category = _key(instance.image_id), _key(instance.category_id)
        if _is_crowd(instance.iscrowd) or category not in names:
            continue
        area = _area(instance)
        if area is None:
            unknown.setdefault(image, set()).add(category)
            area = 0.0
        for chosen in (largest, *([animal] if category in animals else [])):
            if image not in chosen or area > chosen[image][0]:
                chosen[image] = area, category
    truths: dict[Any, dict[str, str | None]] = {}
    for image, (_, category) in largest.items():
        told: dict[str, str | None] = {
            MAIN_OBJECT: names[category],
            MAIN_ANIMAL: names[animal[image][1]] if image in animal else "none",
        }
        if len(unknown.get(image, set()) | {category}) > 1 and image in unknown:
            passed.unsized += 1
            told = dict.fromkeys(told)
        truths[image] = told
    passed.no_animals += bool(names) and not animals
    return truths


def _key(value: Any) -> Any:
    """An id as it compares: 1, 1.0 and "1" are the same one."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and value.strip().isdecimal() and len(value) < 20:
        return int(value)
    return value if isinstance(value, (str, int)) else repr(value)


def _is_crowd(value: Any) -> bool:
    return value not in (None, False, 0, "0", "", "false", "False")


def _area(instance: _Instance) -> float | None:
    """The area of an instance, or else that of its box; None where neither is known."""
    area = _number(instance.area)
    if area is not None and area > 0:
        return area
    box = instance.bbox
    if isinstance(box, (list, tuple)) and len(box) == 4:
        width, height = _number(box[2]), _number(box[3])
        if width is not None and height is not None:
            return max(0.0, width) * max(0.0, height)
    return area if area is not None and area >= 0 else None


def _number(value: Any) -> float | None:
    """A finite number, also where it is written as text."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None
