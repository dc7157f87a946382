"""Reads COCO (Lin et al. 2014, arXiv 1405.0312) as published: `annotations/instances_*.json` or
`captions_*.json`, and a folder of pictures for each split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from msgspec import Struct

from engine.sweeps.sources.annotations import decoded, picture_file
from engine.sweeps.sources.tasks import (
    PictureTasks,
    Prompt,
    Source,
    Task,
    asked_of_all,
    listed,
    merged,
)
from engine.system.files import storable

MAIN_OBJECT = "Main object:"
MAIN_ANIMAL = "Main animal:"
RULE = (
    "main object: the category of the largest instance by area, crowds left out; "
    "main animal: the same among animals, or none"
)


class _Image(Struct):
    id: int
    file_name: str


class _Instance(Struct):
    image_id: int
    category_id: int
    area: float
    iscrowd: int = 0


class _Category(Struct):
    id: int
    name: str
    supercategory: str = ""


class _Instances(Struct):
    images: list[_Image]
    annotations: list[_Instance]
    categories: list[_Category]


class _Captions(Struct):
    images: list[_Image]


def annotation_files(folder: Path) -> list[Path]:
    """The annotation files (instances or else captions), by which a folder is known as COCO."""
    for pattern in ("instances_*.json", "captions_*.json"):
        found = sorted({*folder.glob(pattern), *folder.glob(f"annotations/{pattern}")})
        if found:
            return found
    return []


def read_coco(folder: Path, prompts: Sequence[Prompt]) -> Source:
    """The questions of a COCO folder.

    Without prompts these ask for the main object and the main animal, whose truths are derived from
    the instances; otherwise they are `prompts`, which have a truth where they are one of the two.
    Raises BadInput, naming what is damaged.
    """
    pictures: list[PictureTasks] = []
    for file in annotation_files(folder):
        kind, split = file.stem.split("_", 1)
        if kind == "captions":
            tasks = asked_of_all(prompts)
            images = decoded(file, _Captions).images
            pictures += [_picture(folder, split, image, tasks) for image in images]
            continue
        instances = decoded(file, _Instances)
        truths = _truths(instances)
        for image in instances.images:
            derived = truths.get(image.id, {MAIN_ANIMAL: "none"})
            asked = [
                _task(text, group, derived)
                for text, group in (
                    [(prompt.text, prompt.group) for prompt in prompts]
                    or [(text, "") for text in derived]
                )
            ]
            pictures.append(_picture(folder, split, image, tuple(asked)))
    return listed("COCO", folder, merged(pictures), RULE)


def _task(text: str, group: str, truths: Mapping[str, str]) -> Task:
    names = {MAIN_OBJECT: "object", MAIN_ANIMAL: "animal"}
    if text in truths:
        return Task(text, names[text], truths[text])
    return Task(text, names.get(text, group))


def _truths(instances: _Instances) -> dict[int, dict[str, str]]:
    """From the id of an image to a prompt to its truth."""
    names = {category.id: category.name for category in instances.categories}
    animals = {each.id for each in instances.categories if each.supercategory == "animal"}
    largest: dict[int, _Instance] = {}
    animal: dict[int, _Instance] = {}
    for instance in instances.annotations:
        if instance.iscrowd or instance.category_id not in names:
            continue
        for chosen in (largest, *([animal] if instance.category_id in animals else [])):
            known = chosen.get(instance.image_id)
            if known is None or instance.area > known.area:
                chosen[instance.image_id] = instance
    return {
        image: {
            MAIN_OBJECT: names[instance.category_id],
            MAIN_ANIMAL: names[animal[image].category_id] if image in animal else "none",
        }
        for image, instance in largest.items()
    }


def _picture(folder: Path, split: str, image: _Image, tasks: tuple[Task, ...]) -> PictureTasks:
    """A picture: published data has it in `<split>/`, small copies often in `images/`."""
    places = (split, f"images/{split}", "images", ".")
    file = picture_file(folder, places, image.file_name)
    return PictureTasks(storable(file.relative_to(folder)), file, tasks)
