"""The model's inputs for a question with something else instead of its picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.counterfactuals import grammar, pictures, pixels, tokens
from engine.counterfactuals.unavailable import Unavailable
from engine.errors import BadInput, one_line
from engine.prompts.preparing import Prepared, prepare
from engine.prompts.processors import tokenizer_of
from engine.records import Counterfactual, Question

if TYPE_CHECKING:
    from PIL.Image import Image

    from engine.models.loading import LoadedModel


@dataclass(frozen=True, kw_only=True)
class PreparedCounterfactual(Prepared):
    """The model's inputs without the picture; position -1 is the same token as with it.

    `text` is what was tokenised; counterfactuals that change the prompt's tokens change them after
    that.
    """

    counterfactual: Counterfactual
    """The counterfactual with everything needed to repeat it: a radius, a token, a digest."""
    preview: Image | None
    """The picture that the model is asked about; None where only pixel values or tokens changed."""

    @property
    def label(self) -> str:
        """The counterfactual's heading."""
        return grammar.label(self.counterfactual)


def counterfactual_inputs(
    loaded: LoadedModel,
    question: Question,
    prepared: Prepared,
    counterfactual: Counterfactual,
    image: Image | None,
) -> PreparedCounterfactual:
    """The inputs for `question` without its picture `image`; `prepared` holds those with it.

    Raises Unavailable where this model or prompt cannot take that counterfactual, BadInput where
    the question has no picture, or a second picture cannot be opened.
    """
    if image is None:
        raise BadInput(f"{counterfactual.name}: the question has no picture to replace")
    name = counterfactual.name
    if name in pictures.NAMES:
        other, made = pictures.picture_instead(counterfactual, image)
        with_other = prepare(loaded.model, loaded.processor, question, other)
        return PreparedCounterfactual(
            with_other.inputs,
            with_other.tokens,
            with_other.text,
            counterfactual=made,
            preview=other,
        )
    if name in pixels.NAMES:
        settings = getattr(loaded.processor, "image_processor", None)
        inputs = pixels.pixels_instead(counterfactual, prepared.inputs, settings)
        return PreparedCounterfactual(
            inputs, prepared.tokens, prepared.text, counterfactual=counterfactual, preview=None
        )
    if name not in tokens.NAMES:
        raise BadInput(f"there is no counterfactual {name!r}; there are {grammar.listed()}")
    edited, made = tokens.tokens_instead(
        counterfactual, prepared, loaded.model, tokenizer_of(loaded.processor)
    )
    _refuse_where_a_picture_is_needed(loaded, name, edited)
    return PreparedCounterfactual(
        edited.inputs, edited.tokens, edited.text, counterfactual=made, preview=None
    )


def _refuse_where_a_picture_is_needed(loaded: LoadedModel, name: str, edited: Prepared) -> None:
    """Raise Unavailable where the model cannot be run on such inputs, by learning them."""
    try:
        loaded.lens.learn(edited.inputs)
    except (TypeError, ValueError, AttributeError) as error:
        raise Unavailable(
            f"{name}: this model cannot do without a picture ({one_line(error)})"
        ) from error
