"""Counterfactuals in the prompt itself: the picture's tokens are deleted or become unknown."""

from __future__ import annotations

from typing import Any

from msgspec import structs
from torch import Tensor

from engine.counterfactuals.unavailable import Unavailable
from engine.prompts.preparing import Prepared
from engine.prompts.token_texts import TokenTexts
from engine.records import Counterfactual, PromptToken

NAMES = ("none", "unk", "unk-all")

PAD_NOTE = "pad token: this tokenizer has no unknown token"


def tokens_instead(
    counterfactual: Counterfactual, prepared: Prepared, model: Any, tokenizer: Any
) -> tuple[Prepared, Counterfactual]:
    """The prompt without its picture, and the counterfactual with the token that replaces it.

    `unk` puts one token in the place of the picture's tokens, from the first to the last, and keeps
    the marks around them; `none` deletes the marks, too. Raises Unavailable where the picture is
    not in the prompt that is read, or no token can replace it.
    """
    name, tokens = counterfactual.name, prepared.tokens
    if "decoder_input_ids" in prepared.inputs:
        raise Unavailable(f"{name}: the picture goes into the encoder, not into the decoder's text")
    images = [place for place, token in enumerate(tokens) if token.kind == "image"]
    order, unknown = list(range(len(tokens))), set[int]()
    if name == "none":
        taken = _whole_span(name, tokens, images)
        order = [place for place in order if place not in taken]
    elif not images:
        raise Unavailable(f"{name}: the picture has no token of its own in this model's prompt")
    elif name == "unk":
        _refuse_in_pieces(name, tokens, range(images[0], images[-1]))
        order = [place for place in order if not images[0] < place <= images[-1]]
        unknown = {images[0]}
    elif len(images) == 1:
        raise Unavailable("unk-all: the picture is one token in this model's prompt: ask unk")
    else:
        unknown = set(images)
    stand_in = None
    if unknown:
        stand_in, said = _unknown_token(name, model, tokenizer)
        counterfactual = structs.replace(counterfactual, parameters=said)
    kept = tuple(
        stand_in if place in unknown and stand_in is not None else tokens[place] for place in order
    )
    inputs = _edited(prepared.inputs, len(tokens), order, unknown, stand_in)
    return Prepared(inputs, kept, prepared.text), counterfactual


def _whole_span(name: str, tokens: tuple[PromptToken, ...], images: list[int]) -> range:
    """The picture's tokens and the marks around and between them."""
    places = sorted({*images, *(i for i, token in enumerate(tokens) if token.part == "picture")})
    span = range(places[0], places[-1] + 1) if places else range(0)
    _refuse_in_pieces(name, tokens, span)
    return span


def _refuse_in_pieces(name: str, tokens: tuple[PromptToken, ...], span: range) -> None:
    if any(tokens[place].part in ("system", "prompt", "prefix") for place in span):
        raise Unavailable(f"{name}: the picture's tokens are not in one piece in this prompt")


def _unknown_token(name: str, model: Any, tokenizer: Any) -> tuple[PromptToken, dict[str, Any]]:
    """The token that replaces the picture, and what is recorded about it."""
    known = getattr(model.get_input_embeddings(), "num_embeddings", None)
    for kind, note in (("unk", None), ("pad", PAD_NOTE)):
        token = getattr(tokenizer, f"{kind}_token_id", None)
        if not isinstance(token, int) or (isinstance(known, int) and token >= known):
            continue
        text = TokenTexts(tokenizer)(token)
        said: dict[str, Any] = {"token": {"id": token, "text": text}}
        if note is not None:
            said["note"] = note
        return PromptToken(id=token, text=text, kind="special", part="picture"), said
    raise Unavailable(f"{name}: this tokenizer has neither an unknown token nor a pad token")


def _edited(
    inputs: dict[str, Any],
    length: int,
    order: list[int],
    unknown: set[int],
    stand_in: PromptToken | None,
) -> dict[str, Any]:
    """The inputs that have a value per token, at the places `order`. Everything else that came with
    the picture is left out, positions among it: the model counts them anew."""
    edited: dict[str, Any] = {}
    replaced = [index for index, place in enumerate(order) if place in unknown]
    for name, value in inputs.items():
        if not isinstance(value, Tensor) or value.shape != (1, length):
            continue
        if "image" in name or name == "position_ids":
            continue
        edited[name] = value[:, order]
        if name == "input_ids" and stand_in is not None:
            edited[name][:, replaced] = stand_in.id
        elif name.endswith("token_type_ids"):
            edited[name][:, replaced] = 0  # as for text
    return edited
