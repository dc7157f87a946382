"""What every source provides: pictures, each with the questions that are asked about it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from engine.errors import BadInput, Remedy

NO_GROUP = "ungrouped"
"""The group of questions without one."""


@dataclass(frozen=True)
class Prompt:
    """A question that is asked about every picture."""

    text: str
    group: str = NO_GROUP


@dataclass(frozen=True)
class Task:
    """One question about one picture."""

    prompt: str
    group: str = NO_GROUP
    truth: str | None = None
    against: str = ""
    """What stands in the place of the picture, as `engine.sweeps.replacing` names it; empty for the
    picture itself."""
    given: tuple[str, ...] = field(default=(), compare=False)
    """What each of ten people answered, if the data has that."""


@dataclass(frozen=True)
class PictureTasks:
    """A picture and what is asked about it."""

    path: str
    """Its recorded name: relative to the data, or its place in the file that embeds it."""
    file: Path | None
    """The file to read it from; None where `read` returns its bytes."""
    tasks: tuple[Task, ...]
    read: Callable[[], bytes] | None = field(default=None, compare=False)
    missing: str = ""
    """Why there is neither a file nor bytes; empty where there is one of them."""
    named: str = field(default="", compare=False)
    """How the data names it, if that is not `path`: the same wherever the picture is found."""

    def __post_init__(self) -> None:
        if len(set(self.tasks)) != len(self.tasks):
            object.__setattr__(self, "tasks", tuple(dict.fromkeys(self.tasks)))


@dataclass(frozen=True)
class Source:
    """The questions of one set of data, listed without opening a picture."""

    kind: str
    path: str
    pictures: Iterable[PictureTasks]
    """Can be iterated over repeatedly."""
    digest: str
    picture_count: int
    item_count: int
    rule: str = ""
    """How truths are derived, in words."""
    quickly: Iterable[PictureTasks] | None = field(default=None, compare=False)
    notes: tuple[str, ...] = ()
    """What the user should know about how the data was read, a line each."""

    @property
    def listing(self) -> Iterable[PictureTasks]:
        """The pictures and their questions, listed quickly: an embedded picture is read when it is
        asked for, which takes longer than in the order of `pictures`."""
        return self.pictures if self.quickly is None else self.quickly


def listed(
    kind: str,
    path: Path,
    pictures: Sequence[PictureTasks],
    rule: str = "",
    notes: tuple[str, ...] = (),
) -> Source:
    """A source of pictures that are all known.

    Its digest covers names and questions, not the content of files, so that a picture that was
    missing may be added. Raises BadInput where there is no question.
    """
    items = sum(len(picture.tasks) for picture in pictures)
    if not items:
        raise BadInput(f"{path}: no question is asked about any picture")
    digest = hashlib.sha256()
    for picture in pictures:
        tasks = [(task.prompt, task.group, task.truth) for task in picture.tasks]
        digest.update(repr((picture.named or picture.path, tasks)).encode("utf-8", "surrogatepass"))
    knows = any(task.truth is not None for picture in pictures for task in picture.tasks)
    return Source(
        kind,
        str(path.absolute()),
        pictures,
        digest.hexdigest(),
        len(pictures),
        items,
        rule if knows else "",
        notes=notes,
    )


def asked_of_all(prompts: Sequence[Prompt]) -> tuple[Task, ...]:
    """The prompts as questions, for a source that has none. Raises BadInput without prompts."""
    if not prompts:
        raise BadInput(
            "this data has no questions of its own: name prompts for it", Remedy.NAME_PROMPTS
        )
    return tuple(Task(prompt.text, prompt.group) for prompt in prompts)


def merged(pictures: Iterable[PictureTasks]) -> list[PictureTasks]:
    """Each picture once, with the questions of all places that name it."""
    first: dict[str, PictureTasks] = {}
    tasks: dict[str, list[Task]] = {}
    for picture in pictures:
        first.setdefault(picture.path, picture)
        tasks.setdefault(picture.path, []).extend(picture.tasks)
    return [replace(picture, tasks=tuple(tasks[path])) for path, picture in first.items()]


def shard_of(pictures: Iterable[PictureTasks], index: int, count: int) -> Iterator[PictureTasks]:
    """Every `count`-th picture from `index` on, so that questions about a picture stay together."""
    for number, picture in enumerate(pictures):
        if number % count == index:
            yield picture
