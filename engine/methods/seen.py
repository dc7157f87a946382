"""What the model sees of a run's picture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from engine.errors import BadInput
from engine.events import PictureSeen
from engine.pictures.model_view import as_preview, picture_seen, processed
from engine.prompts.preparing import prepare
from engine.records import Question

if TYPE_CHECKING:
    from engine.models.loading import LoadedModel


def see(
    loaded: LoadedModel, question: Question, inputs: Mapping[str, Any], run_id: str
) -> PictureSeen:
    """What the model sees of the picture of the run that was asked this, with these inputs.

    Raises BadInput where that cannot be shown.
    """
    picture = question.picture
    if picture is None:
        raise BadInput("this run has no picture")
    image = picture_seen(
        loaded.processor,
        inputs,
        (picture.width, picture.height),
        lambda drawn: prepare(loaded.model, loaded.processor, question, drawn).inputs,
    )
    facts = processed(loaded.processor, inputs, picture)
    return PictureSeen(
        run_id=run_id,
        preview=as_preview(image),
        width=image.width,
        height=image.height,
        how="" if facts is None else facts.how,
    )
