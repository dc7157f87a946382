"""From an item of a sweep to what methods read from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from msgspec import structs

from engine.asking.asking import Asking, ask_together
from engine.errors import CannotRead
from engine.methods.everywhere import Everywhere
from engine.methods.method import Subject
from engine.prompts.preparing import Prepared
from engine.records import Picture
from engine.system.files import storable

if TYPE_CHECKING:
    from engine.models.loading import LoadedModel
    from engine.records import Question
    from engine.sweeps.preparing import PreparedPicture, PreparedTask


def subject_of(
    loaded: LoadedModel,
    question: Question,
    picture: PreparedPicture,
    task: PreparedTask,
    run_id: str | None = None,
    others: Sequence[Subject] = (),
) -> Subject:
    """The question of a task, whose tokens are known, asked once more as a run of its own. `others`
    are runs that methods may compare it with.

    Raises CannotRead where the pass fails, or its proof, and what the model raises.
    """
    asked = structs.replace(
        question,
        prompt=task.task.prompt,
        picture=Picture(path=storable(picture.path), sha256=picture.sha256),
        counterfactual=task.counterfactual,
    )
    asking = Asking(loaded, asked, run_id)
    asking.begin(Prepared(task.inputs, task.tokens, ""))
    (run,) = ask_together([asking])
    if run.status != "done":
        raise CannotRead(run.error or "it was not read to the end")
    return Subject(
        loaded,
        run,
        task.inputs,
        asking.kept,
        {each.run.id: each for each in others},
        Everywhere(asking.everywhere),
    )
