"""The model's inputs for a question with something else instead of its picture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from engine.counterfactuals import grammar, pictures, pixels, tokens
from engine.counterfactuals.unavailable import Unavailable
from engine.errors import BadInput, one_line
from engine.prompts.preparing import Prepared, prepare
from engine.prompts.processors import tokenizer_of
from engine.records import Counterfactual, Question

if TYPE_CHECKING:
    from PIL.Image import Image

    from engine.lens.lens import Lens
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
    edited, made = edited_inputs(loaded, prepared, counterfactual)
    if name in tokens.NAMES:
        refuse_where_a_picture_is_needed(loaded.lens, name, edited.inputs)
    return PreparedCounterfactual(
        edited.inputs, edited.tokens, edited.text, counterfactual=made, preview=None
    )


def edited_inputs(
    loaded: LoadedModel, prepared: Prepared, counterfactual: Counterfactual
) -> tuple[Prepared, Counterfactual]:
    """The inputs for a counterfactual that changes pixel values or tokens, without running the
    model, and the counterfactual with everything needed to repeat it.

    Raises Unavailable where this model or prompt cannot take that counterfactual.
    """
    name = counterfactual.name
    if name in pixels.NAMES:
        settings = getattr(loaded.processor, "image_processor", None)
        inputs = pixels.pixels_instead(counterfactual, prepared.inputs, settings)
        return Prepared(inputs, prepared.tokens, prepared.text), counterfactual
    if name not in tokens.NAMES:
        raise BadInput(f"there is no counterfactual {name!r}; there are {grammar.listed()}")
    return tokens.tokens_instead(
        counterfactual, prepared, loaded.model, tokenizer_of(loaded.processor)
    )


def refuse_where_a_picture_is_needed(lens: Lens, name: str, inputs: Mapping[str, Any]) -> None:
    """Raise Unavailable where the model cannot be run on such inputs, by learning them."""
    try:
        lens.learn(inputs)
    except (TypeError, ValueError, AttributeError) as error:
        raise Unavailable(
            f"{name}: this model cannot do without a picture ({one_line(error)})"
        ) from error
