"""What every question of a sweep is also asked with instead of its picture."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from msgspec import structs

from engine.counterfactuals.grammar import parse_against, written
from engine.errors import BadInput
from engine.pictures.opening import open_picture
from engine.records import Counterfactual
from engine.sweeps.records import MOST_AGAINST, MOST_NAME
from engine.system.files import storable

if TYPE_CHECKING:
    from engine.sweeps.sources.tasks import Task


def replacements(given: str | Sequence[str], seed: int = 0) -> tuple[Counterfactual, ...]:
    """The counterfactuals in one or several comma-separated lists, another picture with the digest
    of its content. Raises BadInput for what is not one, and where another picture cannot be opened.
    """
    found = tuple(map(_identified, parse_against(given, seed)))
    if len(found) > MOST_AGAINST:
        raise BadInput(f"{len(found):,} counterfactuals; the limit is {MOST_AGAINST}")
    return found


def _identified(counterfactual: Counterfactual) -> Counterfactual:
    file = counterfactual.parameters.get("file")
    if file is None:
        return counterfactual
    if storable(file) != file or len(file) > MOST_NAME - 100:
        raise BadInput(f"other={storable(file)[:100]}: give this file another, shorter name")
    digest = open_picture(file).record.sha256
    return structs.replace(counterfactual, parameters={"file": file, "sha256": digest})


def asked_as(counterfactual: Counterfactual) -> str:
    """How a counterfactual is named in a sweep's files and reports: as it was asked for, with its
    seed where that is not the usual one."""
    name = written(counterfactual) or counterfactual.name
    return f"{name} (seed {counterfactual.seed})" if counterfactual.seed else name


def with_replacements(tasks: Iterable[Task], against: Sequence[str]) -> Iterator[Task]:
    """The questions about a picture, and then all of them again for each replacement: those about
    the same pixels follow one another, so that they share a vision pass."""
    own = tuple(tasks)
    yield from own
    for name in against:
        for task in own:
            yield replace(task, against=name)
