"""Divides the questions about a block of pictures into parts that are asked one after the other.

Questions with something else in the place of the picture can have other inputs than those with it:
fewer tokens, no pixels. Whatever a model does not allow for those must not hold up the others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from engine.counterfactuals.inputs import refuse_where_a_picture_is_needed
from engine.counterfactuals.tokens import NAMES as OTHER_TOKENS
from engine.counterfactuals.unavailable import Unavailable
from engine.errors import CannotRead
from engine.lens.input_kinds import kind_of
from engine.sweeps.items import came_from_the_model
from engine.sweeps.preparing import PreparedPicture, PreparedTask
from engine.system.memory import is_out_of_memory

if TYPE_CHECKING:
    from engine.lens.lens import Lens
    from engine.records import Counterfactual

OTHER_SHAPES = (*OTHER_TOKENS, "other")
"""Counterfactuals whose inputs need not have the shapes of the picture's."""


def parts(block: Sequence[PreparedPicture]) -> Iterator[list[PreparedPicture]]:
    """The pictures with those of their questions whose inputs have the picture's shapes, then with
    those of each other counterfactual."""
    found: dict[str, list[PreparedPicture]] = {}
    for picture in block:
        tasks: dict[str, list[PreparedTask]] = {}
        for task in picture.tasks:
            tasks.setdefault(_part_of(task), []).append(task)
        for name, some in tasks.items():
            found.setdefault(name, []).append(replace(picture, tasks=tuple(some), failed=()))
    yield from found.values()


def _part_of(task: PreparedTask) -> str:
    instead = task.counterfactual
    return task.task.against if instead is not None and instead.name in OTHER_SHAPES else ""


class WithoutPictures:
    """Finds the questions without a picture that a model cannot be asked."""

    def __init__(self, lens: Lens) -> None:
        self._lens = lens
        self._known: dict[tuple[str, frozenset[str]], str | None] = {}
        """The reason, or None, for a counterfactual and the names of its inputs."""

    def refused(self, picture: PreparedPicture) -> PreparedPicture:
        """The picture, with such questions among those that have failed."""
        reasons = [self._reason(each.counterfactual, each.inputs) for each in picture.tasks]
        if not any(reasons):
            return picture
        both = list(zip(picture.tasks, reasons, strict=True))
        return replace(
            picture,
            tasks=tuple(task for task, reason in both if reason is None),
            failed=(*picture.failed, *((task.task, why) for task, why in both if why is not None)),
        )

    def _reason(self, instead: Counterfactual | None, inputs: Mapping[str, object]) -> str | None:
        if instead is None or instead.name not in OTHER_TOKENS:
            return None
        key = instead.name, kind_of(inputs)
        if key not in self._known:
            try:
                refuse_where_a_picture_is_needed(self._lens, instead.name, inputs)
                self._known[key] = None
            except (Unavailable, CannotRead) as error:
                self._known[key] = str(error)
            except Exception as error:
                if not came_from_the_model(error):
                    raise
                if is_out_of_memory(error):
                    return None  # another time there may be enough
                self._known[key] = None  # the question's own pass will report it
        return self._known[key]
